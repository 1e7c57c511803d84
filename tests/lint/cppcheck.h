/* Macros of libraries, as cppcheck has to be told. For nothing else. */
#define mnl_attr_for_each(attr, nlh, offset) for ((attr) = (void *)(nlh); (attr); (attr) = 0)
#define mnl_attr_for_each_nested(attr, nest) for ((attr) = (void *)(nest); (attr); (attr) = 0)
