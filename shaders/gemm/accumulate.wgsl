    // The matrix cores' part inside of main: the sums of a tile. gemm/core says what each of these
    // names is.
#requires tile_r0 tile_c0 lane t1_begin t1_end t0_end k_end
#requires lhs_begin rhs_begin tile_row
#provides tile_col
#ifdef LANES
#import gemm/subgroup
#elif SIDE
#import gemm/coopmat
#else
#import gemm/tiled
#endif
