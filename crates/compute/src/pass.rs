//! One walk through a network on one backend. It hands out buffers and takes them back, so that a network of any depth
//! needs as many as are alive at once. What a walk in training remembers is in `tape.rs`.

use crate::tape::Tape;
use crate::{Backend, Tensor};

/// Buffers that outlive a pass: fresh memory would be cleared by the system page by page.
#[derive(Debug, Default)]
pub struct Memory(Vec<Tensor>);

impl Memory {
    /// How many numbers the buffers have room for.
    pub fn numbers(&self) -> usize {
        self.0.iter().map(Tensor::capacity).sum()
    }
}

/// A walk through a network. The functions of [`crate::ops`] take it first.
///
/// A pass belongs to one thread; the backend under it is shared.
#[derive(Debug)]
pub struct Pass<'a> {
    backend: &'a dyn Backend,
    pub(crate) spare: Vec<Tensor>,
    /// What a training pass remembers.
    pub(crate) tape: Option<Tape<'a>>,
}

impl<'a> Pass<'a> {
    /// A pass that computes and remembers nothing.
    pub fn inference(backend: &'a dyn Backend) -> Self {
        Self { backend, spare: Vec::new(), tape: None }
    }

    /// The backend that computes.
    pub fn backend(&self) -> &'a dyn Backend {
        self.backend
    }

    /// Takes over the buffers of a pass that is done, for a pass of the same backend.
    pub fn with_memory(mut self, memory: Memory) -> Self {
        self.spare = memory.0;
        self
    }

    /// The buffers, for the next pass.
    pub fn into_memory(self) -> Memory {
        Memory(self.spare)
    }

    /// A buffer for `[rows, width]` numbers, whose content is whatever was there.
    pub fn tensor(&mut self, rows: usize, width: usize) -> Tensor {
        // The smallest that fits; else a new one. The list is as short as the number of live tensors in a layer.
        let wanted = rows * width;
        let fitting = self.spare.iter().enumerate().filter(|(_, spare)| spare.capacity() >= wanted);
        let smallest = fitting.min_by_key(|(_, spare)| spare.capacity()).map(|(at, _)| at);
        // In training, what is remembered decides how much memory there is: the largest grows rather than lie idle.
        let largest = || {
            let spare = self.spare.iter().enumerate().filter(|_| self.tape.is_some());
            spare.max_by_key(|(_, spare)| spare.capacity()).map(|(at, _)| at)
        };
        match smallest.or_else(largest) {
            Some(at) => {
                let mut tensor = self.spare.swap_remove(at);
                tensor.reshape(rows, width);
                tensor
            }
            None => self.backend.tensor(rows, width),
        }
    }

    /// A tensor of this pass with the same numbers.
    pub fn copy(&mut self, from: &Tensor) -> Tensor {
        let mut to = self.tensor(from.rows(), from.width());
        to.copy_from(from);
        to
    }

    /// Takes back a tensor that the network no longer needs.
    pub fn free(&mut self, tensor: Tensor) {
        let unneeded = match &mut self.tape {
            Some(tape) => tape.freed(tensor),
            None => Some(tensor),
        };
        self.spare.extend(unneeded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reference;

    #[test]
    fn a_freed_buffer_is_used_again_with_its_new_shape() {
        let mut pass = Pass::inference(&Reference);
        let first = pass.tensor(6, 4);
        pass.free(first);
        let second = pass.tensor(4, 5);
        assert_eq!((second.rows(), second.width(), second.f64().len()), (4, 5, 20));
        assert!(second.capacity() >= 24, "the buffer of 24 numbers was there to be used");
        let third = pass.tensor(4, 5);
        assert!(third.capacity() < 24, "it is in use");
    }
}
