// Rectangles of one colour each, by instances: place and size in cells of the court, 16 each way.
struct Rectangle {
    @location(0) place: vec4<f32>,
    @location(1) colour: vec4<f32>,
}

struct Corner {
    @builtin(position) position: vec4<f32>,
    @location(0) colour: vec4<f32>,
}

@vertex
fn corner(@builtin(vertex_index) i: u32, rectangle: Rectangle) -> Corner {
    let unit = vec2<f32>(f32(i & 1u), f32(i >> 1u));
    let at = (rectangle.place.xy + rectangle.place.zw * unit) / 16.0;
    return Corner(vec4<f32>(at.x * 2.0 - 1.0, 1.0 - at.y * 2.0, 0.0, 1.0), rectangle.colour);
}

@fragment
fn fill(in: Corner) -> @location(0) vec4<f32> {
    return in.colour;
}
