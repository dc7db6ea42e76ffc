//! Graphs in the Open Neural Network Exchange's format (`onnx.proto`), built node by node.

use crate::storage::protobuf::Message;
use crate::{Error, Result};

/// The version of the operators.
pub const OPSET: i64 = 18;
/// The version of the format that came with them.
const IR_VERSION: i64 = 8;
/// The most bytes of a message.
const MOST: usize = i32::MAX as usize;

/// The type of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// f32.
    Float,
    /// i64.
    Int,
}

impl Element {
    fn number(self) -> i64 {
        match self {
            Element::Float => 1,
            Element::Int => 7,
        }
    }
}

/// A dimension of an input or an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Always this many.
    Fixed(usize),
    /// Any number, by a name; where two have the same name they are alike.
    Any(&'static str),
}

/// An attribute of a node.
pub enum Attribute<'a> {
    /// A whole number.
    Int(i64),
    /// Several.
    Ints(&'a [i64]),
    /// A number.
    Float(f32),
    /// A word.
    Word(&'a str),
}

/// A graph that is being built. Values have names; each node makes one.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: Vec<Message>,
    initializers: Vec<Message>,
    known: Vec<String>,
    inputs: Vec<Message>,
    outputs: Vec<Message>,
    bytes: usize,
}

fn value_info(name: &str, element: Element, dims: &[Dim]) -> Message {
    let dim = |dim: &Dim| match dim {
        Dim::Fixed(n) => Message::new().int(1, *n as i64),
        Dim::Any(name) => Message::new().text(2, name),
    };
    let shape = dims
        .iter()
        .fold(Message::new(), |shape, d| shape.message(1, &dim(d)));
    let tensor = Message::new().int(1, element.number()).message(2, &shape);
    let of_type = Message::new().message(1, &tensor);
    Message::new().text(1, name).message(2, &of_type)
}

impl Graph {
    /// Declares an input, and returns its name.
    pub fn input(&mut self, name: &str, element: Element, dims: &[Dim]) -> String {
        self.inputs.push(value_info(name, element, dims));
        name.to_owned()
    }

    /// Declares that the value `from` leaves the graph under a name.
    pub fn output(&mut self, name: &str, from: &str, element: Element, dims: &[Dim]) {
        let node = Message::new().text(1, from).text(2, name).text(3, name);
        self.nodes.push(node.text(4, "Identity"));
        self.outputs.push(value_info(name, element, dims));
    }

    /// Adds f32 numbers under a name, once, and returns the name.
    pub fn numbers(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.initializer(name, Element::Float, shape, &bytes)
    }

    /// Adds whole numbers under a name, once, and returns the name.
    pub fn integers(&mut self, name: &str, values: &[i64]) -> String {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.initializer(name, Element::Int, &[values.len()], &bytes)
    }

    fn initializer(
        &mut self,
        name: &str,
        element: Element,
        shape: &[usize],
        bytes: &[u8],
    ) -> String {
        if !self.known.iter().any(|known| known == name) {
            let tensor = Message::new()
                .ints(1, shape.iter().map(|n| *n as i64))
                .int(2, element.number())
                .text(8, name)
                .bytes(9, bytes);
            self.bytes += bytes.len();
            self.initializers.push(tensor);
            self.known.push(name.to_owned());
        }
        name.to_owned()
    }

    /// Adds a node, and returns the name of what it makes.
    pub fn node(&mut self, op: &str, inputs: &[&str], attributes: &[(&str, Attribute)]) -> String {
        let name = format!("{}_{}", op.to_lowercase(), self.nodes.len());
        let node = inputs
            .iter()
            .fold(Message::new(), |node, input| node.text(1, input));
        let node = node.text(2, &name).text(3, &name).text(4, op);
        let attribute = |(name, value): &(&str, Attribute)| {
            let attribute = Message::new().text(1, name);
            match value {
                Attribute::Float(v) => attribute.float(2, *v).int(20, 1),
                Attribute::Int(v) => attribute.int(3, *v).int(20, 2),
                Attribute::Word(v) => attribute.text(4, v).int(20, 3),
                Attribute::Ints(v) => attribute.ints(8, v.iter().copied()).int(20, 7),
            }
        };
        let node = attributes
            .iter()
            .fold(node, |node, a| node.message(5, &attribute(a)));
        self.nodes.push(node);
        name
    }

    /// Returns the bytes of the file of a model with this graph.
    ///
    /// # Errors
    /// If they are more than a file of this format can hold.
    pub fn into_model(self, name: &str, about: &[(&str, &str)]) -> Result<Vec<u8>> {
        if self.bytes > MOST - (1 << 24) {
            let what = format!(
                "its {} MiB of weights are more than the 2 GiB that an ONNX file holds",
                self.bytes >> 20
            );
            return Err(Error::data(what));
        }
        let all = |graph: Message, field: u32, parts: &[Message]| {
            parts.iter().fold(graph, |graph, p| graph.message(field, p))
        };
        let graph = all(Message::new(), 1, &self.nodes).text(2, name);
        let graph = all(graph, 5, &self.initializers);
        let graph = all(all(graph, 11, &self.inputs), 12, &self.outputs);
        let opset = Message::new().text(1, "").int(2, OPSET);
        let model = Message::new()
            .int(1, IR_VERSION)
            .text(2, "wgvq")
            .text(3, env!("CARGO_PKG_VERSION"))
            .message(7, &graph)
            .message(8, &opset);
        let property = |(key, value): &(&str, &str)| Message::new().text(1, key).text(2, value);
        let model = about
            .iter()
            .fold(model, |model, p| model.message(14, &property(p)));
        Ok(model.into_bytes())
    }
}
