// SPDX-License-Identifier: Apache-2.0
// Where there is no AVX-512 to compile, its names stand for the AVX2 kernels; no machine that says it runs them is one of these.
#if !defined(__x86_64__)
#include "kernel/doubles.h"
#include "kernel/elementwise.h"
#include "kernel/fourier.h"
#include "kernel/lists.h"
#include "kernel/maps.h"
#include "kernel/product_loops.h"
#include "kernel/rows.h"
#include "kernel/scan.h"
#include "kernel/table.h"

namespace heed::kernel {
const Table avx512_table = avx2_table;
const Products avx512_bf16_products = plain_bf16_products, amx_products = plain_amx_products;
const Direct avx512_bf16_direct = plain_bf16_direct;
const DoublesTable avx512_doubles = avx2_doubles;
const ElementTable elements_avx512 = elements_avx2;
const FourierTable avx512_fourier = avx2_fourier;
const ListTable avx512_lists = avx2_lists;
const MapTable avx512_maps = avx2_maps, avx512_bf16_maps = avx2_maps;
const RowTable avx512_rows = avx2_rows;
const ScanTable scan_avx512 = scan_avx2;
}  // namespace heed::kernel

namespace heed::product {
const Loops avx512_loops = avx2_loops, vnni_loops = avx2_loops, avx512_bf16_loops = avx2_loops;
}  // namespace heed::product
#endif
