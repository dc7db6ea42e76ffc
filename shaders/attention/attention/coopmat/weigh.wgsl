#requires mine share weights_put
        // The row's weights into workgroup memory.
#unroll n 0 8/(GROUP/TILE_ROWS)
        weights_put(mine * COLUMN + (share + {n}u * SHARE) * QUAD,
            vec4<f16>(vec4<f32>({weight}_{n}_0, {weight}_{n}_1, {weight}_{n}_2, {weight}_{n}_3)));
#end
