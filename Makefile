# make            build/proxylet          make demo   see it work (root or sudo)
# make check      every test              make deps   install what is missing (apt)
# make check-unit check-net check-cases check-asan check-valgrind lint: parts of it
# V=1 shows commands, WERROR=1 makes warnings errors, SANITIZE=address,undefined,
# BUILD=dir builds elsewhere. CC, CFLAGS, LDFLAGS, PREFIX, DESTDIR mean what they always mean.

CC          ?= cc
PKG_CONFIG  ?= pkg-config
PREFIX      ?= /usr/local
CFLAGS      ?= -O2 -g
BUILD       ?= build
VERSION     := 0.1.0

PKGS      := libnftnl libmnl jansson yaml-0.1 libevent_core
WARN      := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	     -Wpointer-arith -Wwrite-strings -Wvla -Wundef -Wformat=2
HARDEN    := -fstack-protector-strong -fPIE -D_FORTIFY_SOURCE=2
KP_CFLAGS := -std=gnu11 -D_GNU_SOURCE -DKP_VERSION='"$(VERSION)"' -fno-strict-aliasing -pthread -I. -MMD -MP $(WARN)
ifeq ($(SANITIZE),)
KP_CFLAGS += $(HARDEN)
KP_LDFLAGS := -pie -Wl,-z,relro,-z,now -pthread
else
KP_CFLAGS += -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer
KP_LDFLAGS := -fsanitize=$(SANITIZE) -pthread
endif
ifneq ($(WERROR),)
KP_CFLAGS += -Werror
endif
Q := $(if $(filter 1,$(V)),,@)

KP_CFLAGS += $(shell $(PKG_CONFIG) --cflags $(PKGS) 2>/dev/null)
KP_LIBS    = $(shell $(PKG_CONFIG) --libs $(PKGS))
CHECK_LIBS = $(shell $(PKG_CONFIG) --libs check)

# main.c stays out of the archive, so that every test links the same objects.
LIB_SRC  := $(filter-out proxy/main.c,$(shell find proxy healthz nft -name '*.c' | sort))
LIB_OBJ  := $(LIB_SRC:%.c=$(BUILD)/%.o)
UNIT     := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/unit/test_*.c)))
NET      := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/net/test_*.c)))
CASE_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard tests/caserun/*.c)))

all: $(BUILD)/proxylet

$(BUILD)/proxylet: $(BUILD)/proxy/main.o $(BUILD)/libproxylet.a
	@echo "  LD    $@"
	$(Q)$(CC) $(KP_LDFLAGS) $(LDFLAGS) -o $@ $^ $(KP_LIBS)

$(BUILD)/libproxylet.a: $(LIB_OBJ)
	@echo "  AR    $@"
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo "  CC    $<"
	$(Q)$(CC) $(KP_CFLAGS) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

$(UNIT) $(NET): %: %.o $(BUILD)/libproxylet.a
	@echo "  LD    $@"
	$(Q)$(CC) $(KP_LDFLAGS) $(LDFLAGS) -o $@ $^ $(KP_LIBS) $(CHECK_LIBS)

$(BUILD)/caserun: $(CASE_OBJ) $(BUILD)/libproxylet.a
	@echo "  LD    $@"
	$(Q)$(CC) $(KP_LDFLAGS) $(LDFLAGS) -o $@ $^ $(KP_LIBS)

# Exit status 77 is a skip, as in automake.
define run-tests
	$(Q)fail=0; for t in $(1); do $(2) $$t; r=$$?; \
	  if [ $$r = 77 ]; then echo "  SKIP  $$t"; elif [ $$r != 0 ]; then echo "  FAIL  $$t"; fail=1; fi; done; exit $$fail
endef
check-unit: $(UNIT)
	$(call run-tests,$(UNIT))
check-net: $(NET) all
	$(call run-tests,$(NET))

clean:
	rm -rf $(BUILD)

.PHONY: all check-unit check-net clean
.DELETE_ON_ERROR:
.SECONDARY:
-include $(LIB_OBJ:.o=.d) $(BUILD)/proxy/main.d $(UNIT:=.d) $(NET:=.d) $(CASE_OBJ:.o=.d)
