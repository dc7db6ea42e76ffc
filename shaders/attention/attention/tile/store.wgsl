#requires x quarters
        // Quarter x + n ACROSS of a row.
        if x + {n}u * ACROSS < quarters {
#ifdef VEC
            {target}[({row}) / 4u + x + {n}u * ACROSS] = {value};
#else
            let value = {value};
            let first = 4u * (x + {n}u * ACROSS);
#unroll c 0 4
            if first + {c}u < p.d { {target}[{row} + first + {c}u] = value[{c}]; }
#end
#endif
        }
