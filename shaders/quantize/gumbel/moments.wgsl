#requires m_all z s
        // Adds to z the exponentials of four logits less the largest, and to s each times its
        // exponent. Where exp is 0 its factor must be a number.
        let t = max(load_l(base, block) - m_all, vec4<f32>(-1e4));
        let q = exp(t);
        z += dot(q, vec4<f32>(1.0));
        s += dot(q, t);
