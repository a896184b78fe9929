/* SPDX-License-Identifier: MIT
 * The files that are compiled into lwIP's web server: none. The program serves its own pages. */
#define FS_ROOT ((const struct fsdata_file*)0)
