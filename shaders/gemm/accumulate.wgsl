#ifdef LANES
#import gemm/subgroup
#else
#ifdef SIDE
#import gemm/coopmat
#else
#import gemm/tiled
#endif
#endif
