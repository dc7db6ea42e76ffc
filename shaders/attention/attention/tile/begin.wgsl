#requires lane
#provides x y
#import attention/attention/places
    // Of 32 invocations eight are side by side along the walked rows, in an order in which two
    // neighbours share one or the other.
    let within_32 = lane % 32u;
    let x = (within_32 & 1u) | ((within_32 >> 1u) & 2u) | ((within_32 >> 2u) & 4u)
        | (8u * (lane / 32u % (ACROSS / 8u)));
    let y = ((within_32 >> 1u) & 1u) | ((within_32 >> 2u) & 2u) | (4u * (lane / (4u * ACROSS)));
