#requires lane
#provides subgroup whole nothing
#ifdef EMULATE
    let subgroup = lane / SUBGROUP;
    let whole = true;
    let nothing = 0.0;
#else
    // Every lane of a subgroup must name the same matrix: its first lane speaks for all.
    let subgroup = subgroupBroadcastFirst(lane) / SUBGROUP;
#import shared/whole_subgroup
#endif
