// An activation of a norm's values, and its slope, of the channels of a unit.
#requires Value
#provides activated slopes
#import shared/activations
#ifdef VEC
fn activated(x: Value) -> Value {
    return Value(activate(x.x), activate(x.y), activate(x.z), activate(x.w));
}
fn slopes(x: Value) -> Value { return Value(slope(x.x), slope(x.y), slope(x.z), slope(x.w)); }
#else
fn activated(x: Value) -> Value { return activate(x); }
fn slopes(x: Value) -> Value { return slope(x); }
#endif
