//! Matrix products, sums of rows and columns, and what is one factor or one row for all.

pub mod bias;
pub mod column_sum;
pub mod matmul;
pub mod reduce;
pub mod scale_by;
pub mod split_sum;
