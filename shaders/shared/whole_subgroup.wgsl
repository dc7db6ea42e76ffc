    // Whether the driver made of this workgroup's LANES invocations (of every SUBGROUP, on the
    // `coopmat` core) one subgroup, as the kernel was made for, where a device has several sizes;
    // and what sums begin with: NaN where not.
#requires lane
#provides whole nothing
#ifdef LANES
    let whole = subgroupAdd(1u) == LANES;
#else
    let whole = subgroupAdd(1u) == SUBGROUP;
#endif
    let nothing = select(bitcast<f32>(0x7fc00000u | min(lane, 0u)), 0.0, whole);
