#ifndef KP_BASE_FOOTPRINT_H
#define KP_BASE_FOOTPRINT_H

/*
 * Gives back what only a phase that is over needed. Most of the memory of an agent with few
 * Services is pages of libraries that nothing but their loading has touched (symbols,
 * relocations, initialisers). They are clean copies of files: who needs one again has it in a
 * microsecond from the page cache. And freed memory goes back to the kernel.
 */
void kp_footprint_shrink(void);

#endif
