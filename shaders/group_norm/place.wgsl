// Where the i-th value of the row that begins at `first` lies, and its channel within the group of `width`. With LINE, for one position
// and one group, both are as they come: integer division is dear.
#ifdef LINE
fn place(first: u32, i: u32, width: u32) -> u32 { return first + i; }
fn channel(i: u32, width: u32) -> u32 { return i; }
#else
fn place(first: u32, i: u32, width: u32) -> u32 { return first + i / width * p.c + i % width; }
fn channel(i: u32, width: u32) -> u32 { return i % width; }
#endif
