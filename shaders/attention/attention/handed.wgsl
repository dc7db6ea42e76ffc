            // {x}: four channels of walked row c, handed round.
#ifdef LANES
            let {x} = subgroupBroadcast({walked}_{t/SPREAD}, {c+NC*(t%SPREAD)}u);
#else
            let {x} = {walked}_tile[{c*DQ+t}];
#endif
