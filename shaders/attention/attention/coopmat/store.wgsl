#requires lane mine share quarters
        // This invocation's quads of the {h}th 32 columns, times {factor}, into row {row}. Of a
        // chunk's channels one half of the subgroups has the first.
#unroll q 0 8/(GROUP/TILE_ROWS)
        {
            let column = 4u * (share + {q}u * SHARE);
            let channel = {h/(CHUNK/32)*CHUNK+h%(CHUNK/32)*16}u
                + column / 16u * (CHUNK / 2u) + column % 16u;
            let from_ = mine * FLOATS + column;
            let value = select(vec4<f32>(nothing), {factor}
                * vec4<f32>(sums[from_], sums[from_ + 1u], sums[from_ + 2u], sums[from_ + 3u]),
                whole);
            if {inside} && channel / 4u < quarters {
#ifdef VEC
                {target}[({row} + channel) / 4u] = value;
#else
#unroll j 0 4
                if channel + {j}u < p.d { {target}[{row} + channel + {j}u] = value[{j}]; }
#end
#endif
            }
        }
#end
