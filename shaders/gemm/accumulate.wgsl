#ifdef LANES
#import gemm/subgroup
#else
#import gemm/tiled
#endif
