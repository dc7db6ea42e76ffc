// Where there are no subgroups, the rows that all walk over go through workgroup memory, NC at a time.
#ifndef LANES
var<workgroup> {walked}_tile: array<vec4<f32>, NC * DQ>;
var<workgroup> {walked2}_tile: array<vec4<f32>, NC * DQ>;
#endif
