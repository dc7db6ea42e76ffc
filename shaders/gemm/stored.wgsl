// An output's elements: Value in registers, Stored in memory, where OUT_HALF rounds them to f16 (four side by side, with OUT_VEC).
#ifdef OUT_VEC
alias Value = vec4<f32>;
#else
alias Value = f32;
#endif
#ifdef OUT_HALF
enable f16;
alias Stored = vec4<f16>;
#else
alias Stored = Value;
#endif
