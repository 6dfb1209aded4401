//! What a training pass remembers, and the walk back over it.
//!
//! Each function of [`crate::ops`] that computes while a pass records leaves a [`Step`]: a value with what the gradient
//! needs, nothing more. [`Pass::backward`] hands the steps, last first, the derivative of the loss by their result; they hand
//! on those by their operands and add those by parameters to [`Gradients`]. How an operation's gradient is computed stands
//! in the operation's file, not here.

use std::collections::HashMap;

use sentir_kernels::dropout::Dropout;

use crate::{Backend, Gradients, Pass, Tensor};

/// The place of a tensor in a training pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    id: u32,
    /// Whether it depends on something that is trained.
    pub(crate) flows: bool,
}

/// Where the random numbers of dropout come from: the same two numbers give the same masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Randomness {
    /// Of the whole run.
    pub seed: u64,
    /// The first mask of this pass; each mask takes the next number. Passes of one run that should differ begin at
    /// numbers that are further apart than the masks they draw.
    pub stream: u64,
}

/// What one operation leaves for its gradient.
pub(crate) trait Step<'a> {
    /// `d` is the derivative by the result. Gives those by the operands to [`Backward::flow`].
    fn backward(self: Box<Self>, walk: &mut Backward<'_, 'a>, d: Tensor);
}

/// The steps of a pass, in the order in which they were computed.
#[derive(Default)]
pub(crate) struct Tape<'a> {
    steps: Vec<(Node, Box<dyn Step<'a> + 'a>)>,
    /// Tensors that steps need again: `None` until the network lets them go.
    kept: HashMap<u32, Option<Tensor>>,
    next: u32,
    pub(crate) random: Randomness,
    /// Compute as in training, but remember nothing.
    pub(crate) paused: bool,
}

impl std::fmt::Debug for Tape<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tape({} steps)", self.steps.len())
    }
}

impl<'a> Tape<'a> {
    pub(crate) fn new(random: Randomness, paused: bool) -> Self {
        Self { random, paused, ..Self::default() }
    }

    /// Keeps a tensor that a step needs, or gives it back.
    pub(crate) fn freed(&mut self, mut tensor: Tensor) -> Option<Tensor> {
        match tensor.node.and_then(|node| self.kept.get_mut(&node.id)) {
            Some(place) => {
                // It stays for long, and may lie in the buffer of something wider.
                tensor.shrink();
                *place = Some(tensor);
                None
            }
            None => Some(tensor),
        }
    }

    fn node(&mut self, flows: bool) -> Node {
        self.next += 1;
        Node { id: self.next, flows }
    }
}

impl<'a> Pass<'a> {
    /// A pass that remembers what the gradient needs and drops out what networks ask for.
    pub fn training(backend: &'a dyn Backend, random: Randomness) -> Self {
        let mut pass = Self::inference(backend);
        pass.tape = Some(Tape::new(random, false));
        pass
    }

    /// A pass that computes what [`Pass::training`] with the same numbers computes, dropout included, and remembers nothing.
    pub fn rehearsal(backend: &'a dyn Backend, random: Randomness) -> Self {
        let mut pass = Self::inference(backend);
        pass.tape = Some(Tape::new(random, true));
        pass
    }

    /// Whether results are to be remembered.
    pub(crate) fn records(&self) -> bool {
        self.tape.as_ref().is_some_and(|tape| !tape.paused)
    }

    /// The mask for the next dropout with this probability: none at all outside of training.
    pub(crate) fn mask(&mut self, probability: f32) -> Dropout {
        match &mut self.tape {
            Some(tape) if probability > 0.0 => {
                let Randomness { seed, stream } = tape.random;
                tape.random.stream += 1;
                Dropout { probability, seed, stream }
            }
            _ => Dropout::NONE,
        }
    }

    /// The place of an operand. One that no operation made (data) does not depend on parameters.
    pub(crate) fn node_of(&self, x: &Tensor) -> Node {
        x.node.unwrap_or(Node { id: 0, flows: false })
    }

    /// Says that a step will need the numbers of `x`, which the network is still using.
    pub(crate) fn keep(&mut self, x: &Tensor) -> Node {
        let node = x.node.expect("an operand of a training pass is a result of it");
        self.tape().kept.entry(node.id).or_insert(None);
        node
    }

    /// `x` to be written over, or a copy if a step needs its numbers again.
    pub(crate) fn owned(&mut self, mut x: Tensor) -> Tensor {
        let kept = self
            .tape
            .as_ref()
            .is_some_and(|tape| x.node.is_some_and(|node| tape.kept.contains_key(&node.id)));
        if kept {
            let copy = self.copy(&x);
            self.free(x);
            return copy;
        }
        x.node = None;
        x
    }

    /// Remembers how `result` was made, if that depends on something that is trained.
    pub(crate) fn record(
        &mut self,
        result: &mut Tensor,
        flows: bool,
        step: impl FnOnce() -> Box<dyn Step<'a> + 'a>,
    ) {
        let tape = self.tape.as_mut().expect("only while recording");
        let node = tape.node(flows);
        result.node = Some(node);
        if flows {
            tape.steps.push((node, step()));
        }
    }

    /// Walks back from `result`, a tensor of this pass, by which the derivative of the loss is `d`, and adds the
    /// derivatives by all parameters to `gradients`. The pass is as new afterwards.
    pub fn backward(&mut self, result: &Tensor, d: Tensor, gradients: &mut Gradients) {
        self.backward_to(result, d, gradients, &[]);
    }

    /// [`Pass::backward`] that gives the derivatives by leaves too; `None` by one that the result does not depend on.
    pub(crate) fn backward_to(
        &mut self,
        result: &Tensor,
        d: Tensor,
        gradients: &mut Gradients,
        leaves: &[Node],
    ) -> Vec<Option<Tensor>> {
        assert_eq!((result.rows(), result.width()), (d.rows(), d.width()), "a derivative of another shape");
        let node = self.node_of(result);
        let mut walk = Backward { pass: self, gradients, flowing: HashMap::new() };
        walk.flow(node, d);
        walk.run();
        let by_leaves = leaves.iter().map(|leaf| walk.flowing.remove(&leaf.id)).collect();
        let Self { tape: Some(tape), spare, .. } = self else {
            panic!("a pass without training has no way back")
        };
        spare.extend(tape.kept.drain().filter_map(|(_, tensor)| tensor));
        by_leaves
    }

    /// `body(x)`, of which only x is remembered: the gradient computes the rest once more (Chen et al. 2016,
    /// <https://arxiv.org/abs/1604.06174>). Consumes `x`.
    pub fn checkpoint(&mut self, x: Tensor, body: impl Fn(&mut Self, Tensor) -> Tensor + 'a) -> Tensor {
        if !self.records() {
            return body(self, x);
        }
        let (from, saved, random) = (self.node_of(&x), self.copy(&x), self.tape().random);
        self.tape().paused = true;
        let mut out = body(self, x);
        self.tape().paused = false;
        // Whether parameters inside are trained is not known before the body has run while recording.
        self.record(&mut out, true, || Box::new(Checkpoint { from, saved, random, body: Box::new(body) }));
        out
    }

    /// A tensor that no operation of this pass made, as an operand of operations; with `flows`, as if it depended on
    /// something that is trained.
    #[cfg(test)]
    pub(crate) fn leaf(&mut self, mut x: Tensor, flows: bool) -> Tensor {
        if let Some(tape) = &mut self.tape {
            x.node = Some(tape.node(flows));
        }
        x
    }

    fn tape(&mut self) -> &mut Tape<'a> {
        self.tape.as_mut().expect("only in training")
    }
}

/// What is computed between two checkpoints.
type Body<'a> = dyn Fn(&mut Pass<'a>, Tensor) -> Tensor + 'a;

struct Checkpoint<'a> {
    from: Node,
    saved: Tensor,
    random: Randomness,
    body: Box<Body<'a>>,
}

impl<'a> Step<'a> for Checkpoint<'a> {
    fn backward(self: Box<Self>, walk: &mut Backward<'_, 'a>, d: Tensor) {
        let Self { from, saved: mut x, random, body } = *self;
        let outer = std::mem::take(&mut walk.pass.tape().steps);
        let later = std::mem::replace(&mut walk.pass.tape().random, random);
        let start = walk.pass.tape().node(from.flows);
        x.node = Some(start);
        let out = body(walk.pass, x);
        let node = walk.pass.node_of(&out);
        walk.pass.free(out);
        walk.flow(node, d);
        walk.run();
        if let Some(d) = walk.flowing.remove(&start.id) {
            walk.flow(from, d);
        }
        walk.pass.tape().steps = outer;
        walk.pass.tape().random = later;
    }
}

/// The walk back: derivatives on their way.
pub(crate) struct Backward<'pass, 'a> {
    pub(crate) pass: &'pass mut Pass<'a>,
    pub(crate) gradients: &'pass mut Gradients,
    flowing: HashMap<u32, Tensor>,
}

impl<'a> Backward<'_, 'a> {
    /// Adds a derivative by the tensor at `node`.
    pub(crate) fn flow(&mut self, node: Node, d: Tensor) {
        if !node.flows {
            return self.pass.free(d);
        }
        match self.flowing.get_mut(&node.id) {
            Some(sum) => {
                self.pass.backend().add(sum, &d);
                self.pass.free(d);
            }
            None => {
                self.flowing.insert(node.id, d);
            }
        }
    }

    /// A tensor that was kept, for one step at a time: [`Backward::put_back`] follows.
    pub(crate) fn take(&mut self, node: Node) -> Tensor {
        let place = self.pass.tape().kept.get_mut(&node.id).expect("it was kept");
        place.take().expect("the network let it go")
    }

    /// The tensor again, for steps before.
    pub(crate) fn put_back(&mut self, node: Node, tensor: Tensor) {
        self.pass.tape().kept.insert(node.id, Some(tensor));
    }

    fn run(&mut self) {
        while let Some((node, step)) = self.pass.tape().steps.pop() {
            if let Some(d) = self.flowing.remove(&node.id) {
                step.backward(self, d);
            }
            // All steps that needed this result were later ones.
            if let Some(Some(tensor)) = self.pass.tape().kept.remove(&node.id) {
                self.pass.spare.push(tensor);
            }
        }
    }
}
