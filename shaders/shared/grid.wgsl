// The number of this invocation's workgroup, and of the invocation, in a grid folded to two
// dimensions because one dimension holds 65,535 workgroups at most.
fn linear_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}
fn linear_index(group: vec3<u32>, groups: vec3<u32>, local: u32, size: u32) -> u32 {
    return linear_group(group, groups) * size + local;
}
