#include "proxy/base/footprint.h"

#include <link.h>
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* Only segments that can never have been written to: elsewhere this would throw away changes. */
static int forget_pages(struct dl_phdr_info *o, size_t size, void *arg)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

	(void)size;
	(void)arg;
	for (int i = 0; i < o->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &o->dlpi_phdr[i];
		uintptr_t from = (o->dlpi_addr + p->p_vaddr) & ~(page - 1), to = o->dlpi_addr + p->p_vaddr + p->p_memsz;

		if (p->p_type == PT_LOAD && !(p->p_flags & PF_W))
			(void)madvise((void *)from, to - from, MADV_DONTNEED);
	}
	return 0;
}

void kp_footprint_shrink(void)
{
	malloc_trim(0);
	dl_iterate_phdr(forget_pages, NULL);
}
