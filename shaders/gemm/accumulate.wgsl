#ifdef LANES
#import gemm/subgroup
#elif SIDE
#import gemm/coopmat
#else
#import gemm/tiled
#endif
