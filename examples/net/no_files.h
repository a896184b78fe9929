/* SPDX-License-Identifier: MIT
 * The files that are compiled into lwIP's web server: none. The program has its own. */
#define FS_ROOT ((const struct fsdata_file*)0)
