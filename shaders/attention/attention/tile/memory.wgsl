// Workgroup memory of a tile: 16 channels of the owned and the walked rows, or all of a few walked
// rows. A row of 16 channels takes five vec4, so that invocations of neighbouring rows read other
// banks.
const BLOCK = 32u; // walked rows at a time
const PITCH = TILE_ROWS / 4u + 1u;
// From an invocation's first row to its four.
const DOWN = vec4<i32>(0, i32(TILE_ROWS / 4u), i32(TILE_ROWS / 2u), i32(TILE_ROWS / 4u * 3u));
const WIDTH = ACROSS * QUADS;
var<workgroup> chunk: array<vec4<f32>, max((TILE_ROWS + BLOCK) * 5u, DEPTH * WIDTH)>;
