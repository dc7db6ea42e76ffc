            // {x}: four channels of walked row c, handed round.
            let {x} = subgroupBroadcast({walked}_{t/SPREAD}, {c+NC*(t%SPREAD)}u);
