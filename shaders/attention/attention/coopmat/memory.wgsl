// Workgroup memory of attention on cooperative matrices, but for the owned rows, see
// gemm/coopmat_lines.
#import gemm/coopmat_cells
const BLOCK = 32u;                       // walked rows at a time
const SHARE = GROUP / TILE_ROWS;         // invocations that share an owned row
const QUAD = 4u / CELL;                  // cells of four halves
// From one line to the next, of halves: 8 of padding, so that lines stay aligned to 16 bytes, as
// SPIR-V wants, and start in different banks.
const OWNED = (CHANNELS + 8u) / CELL;    // an owned row
const LINE = (CHUNK + 8u) / CELL;        // CHUNK channels of a walked row
const COLUMN = (BLOCK + 8u) / CELL;      // the block's values of a channel, or of an owned row
const TILE_CELLS = max(BLOCK * LINE, CHUNK * COLUMN);
#for (memory, cells) in (tile, TILE_CELLS) (weights, TILE_ROWS*COLUMN)
#import gemm/coopmat_lines
#end
// Sums that leave their matrices: of the owned rows, 32 columns and padding.
const FLOATS = BLOCK + 4u;
var<workgroup> sums: array<f32, TILE_ROWS * FLOATS>;

// Matrices of a subgroup: of the owned rows it has one half, and so of the walked rows and of the
// channels.
const DOWN = TILE_ROWS / (2u * SIDE);
const WALKED = 16u / SIDE;
const BESIDE = CHUNK / (2u * SIDE);
const ALONG = CHANNELS / (2u * SIDE);
// Scores and log-sum-exp count in powers of two here: GPUs have exp2() and no exp().
const LOG2E = 1.44269504;
const LN2 = 0.69314718;
