        // For walked row c and each row v of this invocation the products  s = own . walked  and
        // dp = own2 . walked2: one of them of a query and a key, the other of the gradient that
        // arrives and a value.
#unroll v 0 V
        var s_{v}_{c} = 0.0;
        var dp_{v}_{c} = 0.0;
#end
#unroll t 0 DQ
        {
#for (x, walked) in (b, {walked}) (w, {walked2})
#import attention/attention/handed
#end
#unroll v 0 V
#for (sum, mine, x) in (s, {own}, b) (dp, {own2}, w)
            {sum}_{v}_{c} = fma({mine}_{v}_{t}.w, {x}.w, fma({mine}_{v}_{t}.z, {x}.z,
                fma({mine}_{v}_{t}.y, {x}.y, fma({mine}_{v}_{t}.x, {x}.x, {sum}_{v}_{c}))));
#end
#end
        }
#end
