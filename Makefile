# make             build/proxylet           make demo   see it work (root or sudo)
# make check       every test               make deps   install what is missing (apt)
# make help        all targets
# V=1 shows commands, WERROR=1 makes warnings errors, SANITIZE=address,undefined,
# BUILD=dir builds elsewhere. CC, CFLAGS, LDFLAGS, PREFIX, DESTDIR mean what they always mean.

CC          ?= cc
PKG_CONFIG  ?= pkg-config
PREFIX      ?= /usr/local
CFLAGS      ?= -O2 -g
BUILD       ?= build
VERSION     := 0.1.0

# Case folders for check-cases; the recorded ones are read in place where they lie beside the checkout.
CASES       ?= tests/cases $(wildcard ../shared/data/kube-proxy-cases)

# Debian package names: to build, to see it work, to test it, to measure it, to read the code's faults.
DEPS_BUILD  := gcc libc6-dev make pkg-config libmnl-dev libnftnl-dev libjansson-dev libyaml-dev libevent-dev \
	       libcurl4-openssl-dev libcap-ng-dev libseccomp-dev
DEPS_DEMO   := $(DEPS_BUILD) nftables iproute2 python3
# clang's runtime has the version in its name: of Debian 13, Ubuntu 24.04, Debian 12.
CLANG       := $(shell . /etc/os-release 2>/dev/null; case $$VERSION_CODENAME in (trixie) echo 19;; (noble) echo 18;; (*) echo 14;; esac)
DEPS_FUZZ   := $(DEPS_BUILD) clang libclang-rt-$(CLANG)-dev python3
DEPS_CHECK  := $(DEPS_DEMO) $(DEPS_FUZZ) check ca-certificates conntrack iptables ipset valgrind libcap2-bin openssl nghttp2-proxy \
	       python3-yaml haproxy keepalived curl nginx libnginx-mod-stream
DEPS_BENCH  := $(DEPS_DEMO) iptables python3-matplotlib
DEPS_LINT   := $(DEPS_DEMO) clang clang-tidy cppcheck shellcheck mandoc

# Parts of "make check", in this order; each leaves its count below $(BUILD)/results.
PARTS       := unit net faults cases deploy fuzz asan tsan valgrind

PKGS      := libnftnl libmnl jansson yaml-0.1 libevent_core libcurl libcap-ng libseccomp
WARN      := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	     -Wpointer-arith -Wwrite-strings -Wvla -Wundef -Wformat=2
HARDEN    := -fstack-protector-strong -fPIE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
ifneq ($(findstring x86_64,$(shell $(CC) -dumpmachine 2>/dev/null)),)
HARDEN    += -fcf-protection
endif
KP_CFLAGS := -std=gnu11 -D_GNU_SOURCE -DKP_VERSION='"$(VERSION)"' -fno-strict-aliasing -pthread -I. -MMD -MP $(WARN)
ifeq ($(SANITIZE),)
KP_CFLAGS += $(HARDEN) -DKP_SANITIZED=0
KP_LDFLAGS := -pie -Wl,-z,relro,-z,now,-z,noexecstack -pthread
else
KP_CFLAGS += -DKP_SANITIZED=1 -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer
KP_LDFLAGS := -fsanitize=$(SANITIZE) -pthread
endif
ifneq ($(WERROR),)
KP_CFLAGS += -Werror
endif

# Packages may arrive during this run ("deps"): every build step that follows them is a make of its own.
KP_CFLAGS += $(shell $(PKG_CONFIG) --cflags $(PKGS) 2>/dev/null)
KP_LIBS    = $(shell $(PKG_CONFIG) --libs $(PKGS)) -lm
CHECK_LIBS = $(shell $(PKG_CONFIG) --libs check)
# In front of the first build step, so that the message is not a list of missing headers.
MISSING    = $(shell $(PKG_CONFIG) --exists $(PKGS) 2>/dev/null || echo yes)

Q    := $(if $(filter 1,$(V)),,@)
# The steps that need root get it; everything else runs as whoever calls make.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
PY   := python3 -B
TALLY = $(PY) tests/support/tally.py --results $(BUILD)/results --expected-skips tests/expected-skips

# All processors, unless the caller gave a number of his own: the command line wins.
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 1)
endif
MAKEFLAGS += --no-print-directory

# main.c stays out of the archive, so that every test links the same objects.
LIB_SRC  := $(filter-out proxy/main.c,$(shell find proxy healthz nft -name '*.c' | sort))
LIB_OBJ  := $(LIB_SRC:%.c=$(BUILD)/%.o)
UNIT     := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/unit/test_*.c)))
NET      := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/net/test_*.c)))
# The two that wait most, for servers that are slow on purpose, come first: the others run beside them.
NET_SLOW := tests/net/test_api.py tests/net/test_api_tls.py
NET_PY   := $(sort $(wildcard tests/net/test_*.py))
FUZZERS  := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/fuzz/fuzz_$(or $(TARGET),*).c)))
CASE_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard tests/caserun/*.c)))

all: $(BUILD)/proxylet
BENCH_TOOLS := $(addprefix $(BUILD)/tests/bench/,replay record.so flow ctfill)
tests: $(UNIT) $(NET) $(BENCH_TOOLS) $(BUILD)/caserun $(BUILD)/proxylet-faults $(BUILD)/tests/support/no_ipvs.so all

$(BUILD)/proxylet: $(BUILD)/proxy/main.o $(BUILD)/libproxylet.a
	@echo "  LD    $@"
	$(Q)$(CC) $(KP_LDFLAGS) $(LDFLAGS) -o $@ $^ $(KP_LIBS)

$(BUILD)/libproxylet.a: $(LIB_OBJ)
	@echo "  AR    $@"
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/%.o: %.c Makefile | $(BUILD)/.found
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(KP_CFLAGS) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

$(BUILD)/.found:
	$(if $(MISSING),$(error packages are missing: run "make deps"))
	@mkdir -p $(@D) && touch $@

$(UNIT) $(NET): %: %.o $(BUILD)/libproxylet.a
	@echo "  LD    $@"
	$(Q)$(CC) $(KP_LDFLAGS) $(LDFLAGS) -o $@ $^ $(KP_LIBS) $(CHECK_LIBS)

fuzzers: $(FUZZERS)
$(FUZZERS): %: %.o $(BUILD)/libproxylet.a
	@echo "  LD    $@"
	$(Q)$(CC) $(KP_LDFLAGS) -fsanitize=fuzzer $(LDFLAGS) -o $@ $^ $(KP_LIBS)

$(BUILD)/caserun: $(CASE_OBJ) $(BUILD)/libproxylet.a
	@echo "  LD    $@"
	$(Q)$(CC) $(KP_LDFLAGS) $(LDFLAGS) -o $@ $^ $(KP_LIBS)

# The agent with a kernel that is slow or refuses when told so.
$(BUILD)/proxylet-faults: $(BUILD)/proxy/main.o $(BUILD)/tests/faults/seam.o $(BUILD)/libproxylet.a
	@echo "  LD    $@"
	$(Q)$(CC) $(KP_LDFLAGS) $(LDFLAGS) -Wl,--wrap=sendmsg -o $@ $^ $(KP_LIBS)

$(BENCH_TOOLS): | $(BUILD)/.found
# What goes into other programs (LD_PRELOAD).
$(BUILD)/%.so: %.c | $(BUILD)/.found
	@mkdir -p $(@D)
	@echo "  LD    $@"
	$(Q)$(CC) $(KP_CFLAGS) -MF $@.d $(CPPFLAGS) $(CFLAGS) -fPIC -shared -o $@ $< -ldl
$(BUILD)/tests/bench/%: tests/bench/%.c
	@mkdir -p $(@D)
	@echo "  LD    $@"
	$(Q)$(CC) $(KP_CFLAGS) -MF $@.d $(CPPFLAGS) $(CFLAGS) -o $@ $< $(KP_LDFLAGS) $(shell $(PKG_CONFIG) --libs libmnl)

# --- packages ---------------------------------------------------------------

# Asks apt only when something is missing, so that it works without a network where nothing is.
define install-packages
	$(Q)command -v dpkg-query >/dev/null || { echo "no dpkg here; needed are (Debian names): $(1)"; exit 0; }; \
	missing=; for p in $(1); do \
	  dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	[ -z "$$missing" ] || { echo "installing:$$missing"; \
	  $(SUDO) apt-get -qq update && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $$missing >/dev/null; }
endef
deps:
	$(call install-packages,$(DEPS_CHECK) $(DEPS_LINT))
deps-build:
	$(call install-packages,$(DEPS_BUILD))
deps-demo:
	$(call install-packages,$(DEPS_DEMO))
deps-check:
	$(call install-packages,$(DEPS_CHECK))
deps-fuzz:
	$(call install-packages,$(DEPS_FUZZ))
deps-bench:
	$(call install-packages,$(DEPS_BENCH))
deps-lint:
	$(call install-packages,$(DEPS_LINT))

# --- see it work ------------------------------------------------------------

demo: deps-demo
	$(Q)$(MAKE) all
	$(Q)$(SUDO) $(PY) deploy/demo/demo.py --agent $(BUILD)/proxylet

# --- tests ------------------------------------------------------------------

check: deps-check
	$(Q)rm -rf $(BUILD)/results && $(MAKE) tests
	$(Q)for part in $(PARTS); do $(MAKE) check-$$part || true; done
	$(Q)$(TALLY) --sum $(PARTS)

check-unit: $(UNIT)
	$(Q)$(TALLY) --part unit --jobs 2 $(UNIT) tests/bench/test_bench.py

check-net: $(NET) $(BUILD)/tests/support/no_ipvs.so all
	$(Q)$(TALLY) --part net --jobs 2 --as "$(SUDO)" $(foreach t,$(NET_SLOW),"$(t) --agent=$(BUILD)/proxylet") $(NET) \
		$(foreach t,$(filter-out $(NET_SLOW),$(NET_PY)) tests/golden/golden.py,"$(t) --agent=$(BUILD)/proxylet")

# Foreign changes, a stuck and a failing kernel, kill -9: one table. FAULTS=long takes minutes.
check-faults: $(BUILD)/proxylet-faults
	$(Q)$(TALLY) --part faults --as "$(SUDO)" "tests/faults/faults.py --agent=$(BUILD)/proxylet-faults $(if $(filter long,$(FAULTS)),--long)"

check-cases: all $(BUILD)/caserun
	$(Q)$(TALLY) --part cases --as "$(SUDO)" "tests/run_cases.sh --build=$(BUILD) $(CASES)"

check-deploy: all
	$(Q)$(TALLY) --part deploy --as "$(SUDO)" "tests/deploy/check.py --agent=$(BUILD)/proxylet"

# The sanitized code under all modules' tests, some of the agent's, and a sample of the packets. Of the agent's
# (TEST, or TEST:PART:PART) those that between them go through every source, mode and thread.
ASAN     := $(BUILD)/asan
SAMPLE   := random-
SANITIZED_NET := churn files health restart udp:moves:last_endpoint:replaced api:follows:half_closed:410_as_event \
	snapshot:boot iptables:mode_switch_under handover:nobody_notices state:B_20_to
sanitized = $(foreach t,$(SANITIZED_NET),"tests/net/test_$(firstword $(subst :, ,$t)).py --agent=$(1)/proxylet $(wordlist 2,9,$(subst :, ,$t))")
check-asan:
	$(Q)$(MAKE) BUILD=$(ASAN) SANITIZE=address,undefined CFLAGS="-O1 -g" tests
	$(Q)$(TALLY) --part asan --jobs 2 --as "$(SUDO)" $(UNIT:$(BUILD)/%=$(ASAN)/%) $(NET:$(BUILD)/%=$(ASAN)/%) \
		$(call sanitized,$(ASAN)) \
		"tests/faults/faults.py --agent=$(ASAN)/proxylet-faults second fight elements" \
		"tests/run_cases.sh --build=$(ASAN) --only=$(SAMPLE) $(CASES)"

# The hand-overs between the threads. Without address randomisation where that can be had: libtsan of
# gcc 12 does not know the layout of kernels that randomise more.
TSAN       := $(BUILD)/tsan
TSAN_TESTS := $(addprefix $(TSAN)/tests/,unit/test_runner unit/test_saver net/test_conntrack net/test_health_services)
TSAN_UNDER := $(shell setarch -R true 2>/dev/null && echo setarch -R)
check-tsan:
	$(Q)$(MAKE) BUILD=$(TSAN) SANITIZE=thread CFLAGS="-O1 -g" all $(TSAN_TESTS)
	$(Q)$(TALLY) --part tsan --jobs 2 --as "$(SUDO)" --under "$(TSAN_UNDER)" \
		$(TSAN_TESTS) $(call sanitized,$(TSAN))

# A leak in a test's child is its exit status, so that libcheck names the test. Those that read many
# thousand broken documents, or make as many changes, take minutes under valgrind; ASan has them.
VALGRIND := valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite
TOO_SLOW := $(BUILD)/tests/unit/test_doc $(BUILD)/tests/unit/test_badinput $(BUILD)/tests/unit/test_family
check-valgrind: $(UNIT)
	$(Q)$(TALLY) --part valgrind --jobs 2 --under "$(VALGRIND)" $(filter-out $(TOO_SLOW),$(UNIT))

# Every parser of bytes from outside: tests/fuzz/README.md. "check" tries the stored inputs and a few
# more; "fuzz" goes on for as long as it is told, each target in turn.
FUZZ         := $(BUILD)/fuzz
FUZZ_RUNS    ?= -1
FUZZ_SECONDS ?= 60
RUN_FUZZ     := tests/fuzz/run.py $(FUZZERS:$(BUILD)/%=$(FUZZ)/%) --work $(FUZZ)
FUZZ_FLAGS   := BUILD=$(FUZZ) CC=clang SANITIZE=fuzzer-no-link,address,undefined CFLAGS="-O1 -g"
build-fuzz:
	$(Q)$(MAKE) $(FUZZ_FLAGS) all fuzzers

fuzz: deps-fuzz
	$(Q)$(MAKE) build-fuzz
	$(Q)$(PY) $(RUN_FUZZ) --runs $(FUZZ_RUNS) --seconds $(FUZZ_SECONDS)

check-fuzz: build-fuzz
	$(Q)$(TALLY) --part fuzz "$(RUN_FUZZ) --runs 5000 --seconds 1"

lint: deps-lint
	$(Q)$(MAKE) all
	$(Q)sh tests/lint/lint.sh $(BUILD)/libproxylet.a

# Figures beside opponents of the same run; results below $(BUILD)/bench. BENCH: more flags of bench.py.
BENCH_RUN = $(Q)$(SUDO) $(PY) tests/bench/bench.py --agent $(BUILD)/proxylet $(if $(KUBE_PROXY),--kube-proxy $(KUBE_PROXY)) $(BENCH)
bench bench-quick: deps-bench
	$(Q)$(MAKE) all $(BENCH_TOOLS)
	$(BENCH_RUN) $(if $(filter bench-quick,$@),--quick)
bench-compare:
	$(Q)$(PY) tests/bench/bench.py --compare $(or $(OLD),$(error OLD=old.json)) $(or $(NEW),$(BUILD)/bench/bench.json)

MINUTES ?= 10
soak: all
	$(Q)$(SUDO) $(PY) tests/bench/soak.py --agent $(BUILD)/proxylet --minutes $(MINUTES) $(SOAK)

# Write today's plans and rules as the expected ones; read the difference before you commit it.
golden-accept: all $(BUILD)/tests/unit/test_plan_golden
	$(Q)GOLDEN_ACCEPT=1 $(BUILD)/tests/unit/test_plan_golden
	$(Q)$(PY) tests/golden/golden.py --agent=$(BUILD)/proxylet --accept

# --- the rest ---------------------------------------------------------------

install: all
	install -D -m 755 $(BUILD)/proxylet $(DESTDIR)$(PREFIX)/sbin/proxylet
	install -D -m 644 proxy/proxylet.8 $(DESTDIR)$(PREFIX)/share/man/man8/proxylet.8
	install -D -m 644 proxy/proxylet.conf.5 $(DESTDIR)$(PREFIX)/share/man/man5/proxylet.conf.5

clean:
	rm -rf $(BUILD)

help:
	@echo "all            $(BUILD)/proxylet"
	@echo "deps           install the packages that are missing (apt)"
	@echo "demo           show it at work in network namespaces"
	@echo "check          deps, build, every test; last line is the count"
	@echo "check-unit     modules, without root"
	@echo "check-net      the agent and the nf_tables code in network namespaces"
	@echo "check-faults   foreign changes, a stuck or failing kernel, kill -9, as one table; FAULTS=long"
	@echo "check-cases    recorded behaviour of kube-proxy; CASES='FOLDER|FILE...'"
	@echo "check-deploy   image, manifests, chart, unit, dashboard, alerts and manual, as far as they can be tried offline"
	@echo "check-asan     units and a sample of the packets under ASan and UBSan"
	@echo "check-tsan     the agent's threads under ThreadSanitizer"
	@echo "check-valgrind units under valgrind"
	@echo "check-fuzz     the stored inputs of the fuzzers, and a few more"
	@echo "fuzz           the fuzzers, for FUZZ_SECONDS or FUZZ_RUNS each; TARGET=NAME for one"
	@echo "lint           include rule, banned calls, sizes, names defined twice, cppcheck, clang-tidy, scripts, manual pages"
	@echo "bench          figures beside nft, iptables and kube-proxy's rules; KUBE_PROXY=path: beside the real one"
	@echo "bench-quick    the same in a minute; bench-compare OLD=old.json flags what became worse"
	@echo "soak           MINUTES=n of churn, API restarts and drift; nothing may be lost or grow"
	@echo "golden-accept  accept the plans and rules of today as the expected ones"
	@echo "install clean"

.PHONY: all tests deps deps-build deps-demo deps-check deps-fuzz deps-bench deps-lint demo check check-unit check-net check-cases \
	check-faults check-deploy check-asan check-tsan check-valgrind check-fuzz fuzz fuzzers build-fuzz lint bench bench-quick bench-compare \
	soak golden-accept install clean help
.DELETE_ON_ERROR:
.SECONDARY:
-include $(LIB_OBJ:.o=.d) $(BUILD)/proxy/main.d $(BUILD)/tests/faults/seam.d $(UNIT:=.d) $(NET:=.d) $(FUZZERS:=.d) \
	$(CASE_OBJ:.o=.d) $(addsuffix .d,$(BENCH_TOOLS))
