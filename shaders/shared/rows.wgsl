// Rows in units of four channels (VEC) or one.
#ifdef VEC
alias Value = vec4<f32>;
fn inner(a: Value, b: Value) -> f32 { return dot(a, b); }
fn across(a: Value) -> f32 { return (a.x + a.y) + (a.z + a.w); }
#else
alias Value = f32;
fn inner(a: Value, b: Value) -> f32 { return a * b; }
fn across(a: Value) -> f32 { return a; }
#endif
