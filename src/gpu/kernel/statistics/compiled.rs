//! The figures of a compiled kernel, which each driver names in its own way.

/// The driver's statistics of a compiled kernel.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// Bytes of workgroup memory that the text declares.
    pub workgroup_memory: u32,
    /// Invocations of a workgroup.
    pub workgroup: u32,
    /// The driver's own figures, by the driver's own names.
    pub statistics: Vec<(String, f64)>,
    /// The driver's texts, by their names: its intermediate forms and the final code. Empty unless
    /// asked for.
    pub texts: Vec<(String, String)>,
}

/// A kernel's fate.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Compiled, with what the driver says.
    Compiled(Compiled),
    /// The adapter cannot run it, for this reason.
    Lacking(String),
    /// The driver refused it, with its error.
    Refused(String),
}

/// Drivers' names for the number of registers of an invocation.
const REGISTERS: [&str; 7] = [
    "VGPRs",
    "Number of GPRs",
    "GPRs",
    "Registers used",
    "Register Count",
    "GRF registers",
    "numUsedVgprs",
];
/// Drivers' names for a spill to memory.
const SPILLS: [&str; 8] = [
    "Spilled VGPRs",
    "Spills to memory",
    "Spills",
    "Spill count",
    "Spill Count",
    "Spilled registers",
    "STP Count",
    "Local Memory Size",
];
/// Drivers' names for the most that runs at once on a part of the GPU.
const OCCUPANCY: [&str; 5] = [
    "Subgroups per SIMD",
    "Max warps/SM",
    "Max Waves Per Core",
    "Threads",
    "Max dispatch width",
];
/// Drivers' names for the number of instructions.
const INSTRUCTIONS: [&str; 5] = [
    "Instructions",
    "Instruction count",
    "Instruction Count",
    "Instrs",
    "Instruction Count (total)",
];

impl Compiled {
    fn first(&self, names: &[&str]) -> Option<(&str, f64)> {
        names.iter().find_map(|name| {
            let found = self.statistics.iter().find(|(n, _)| n == name);
            found.map(|(n, value)| (n.as_str(), *value))
        })
    }

    /// Registers of an invocation, in the driver's unit.
    pub fn registers(&self) -> Option<f64> {
        self.first(&REGISTERS).map(|(_, n)| n)
    }

    /// Registers that did not fit and are kept in memory, or the instructions that do it; `None`
    /// if the driver does not say.
    pub fn spills(&self) -> Option<f64> {
        self.first(&SPILLS).map(|(_, n)| n)
    }

    /// The driver's name for what limits the number of workgroups at once, and its figure.
    pub fn occupancy(&self) -> Option<(&str, f64)> {
        self.first(&OCCUPANCY)
    }

    /// Instructions in the text, loops counted once.
    pub fn instructions(&self) -> Option<f64> {
        self.first(&INSTRUCTIONS).map(|(_, n)| n)
    }
}
