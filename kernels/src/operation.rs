//! How a kernel becomes an operation of Burn, with and without automatic differentiation.

use std::fmt::Debug;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;

/// A function of one to four tensors, and its gradient.
pub trait Kernel: Debug + Send + Sync + 'static {
    /// The result, and what [`Kernel::backward`] will need (nothing need be kept unless `tracked`).
    fn forward(&self, inputs: Vec<FlexTensor>, tracked: bool) -> (FlexTensor, Vec<FlexTensor>);

    /// The gradients of the inputs that are `wanted`, from what `forward` kept and the gradient of its result.
    fn backward(
        &self,
        kept: Vec<FlexTensor>,
        gradient: FlexTensor,
        wanted: &[bool],
    ) -> Vec<Option<FlexTensor>>;
}

/// A kernel, shared by the graph.
pub type Operation = Arc<dyn Kernel>;

/// Applies a kernel to tensors on the CPU back end, with or without automatic differentiation.
pub trait Apply {
    /// The result, of `D` axes.
    fn apply<const D: usize>(self, kernel: Operation) -> Tensor<D>;
}

impl<const A: usize> Apply for Tensor<A> {
    fn apply<const D: usize>(self, kernel: Operation) -> Tensor<D> {
        Tensor::from_dispatch(Dispatch::unary(self.into_dispatch(), kernel))
    }
}

impl<const A: usize, const B: usize> Apply for (Tensor<A>, Tensor<B>) {
    fn apply<const D: usize>(self, kernel: Operation) -> Tensor<D> {
        Tensor::from_dispatch(Dispatch::binary(self.0.into_dispatch(), self.1.into_dispatch(), kernel))
    }
}

impl<const A: usize, const B: usize, const C: usize> Apply for (Tensor<A>, Tensor<B>, Tensor<C>) {
    fn apply<const D: usize>(self, kernel: Operation) -> Tensor<D> {
        let (a, b, c) = (self.0.into_dispatch(), self.1.into_dispatch(), self.2.into_dispatch());
        Tensor::from_dispatch(Dispatch::ternary(a, b, c, kernel))
    }
}

impl<const A: usize, const B: usize, const C: usize, const E: usize> Apply
    for (Tensor<A>, Tensor<B>, Tensor<C>, Tensor<E>)
{
    fn apply<const D: usize>(self, kernel: Operation) -> Tensor<D> {
        let (a, b, c, d) =
            (self.0.into_dispatch(), self.1.into_dispatch(), self.2.into_dispatch(), self.3.into_dispatch());
        Tensor::from_dispatch(Dispatch::quaternary(a, b, c, d, kernel))
    }
}

/// A kernel with as many inputs as the name says.
#[backend_extension(Flex, Autodiff)]
pub trait Kernels: Backend {
    fn unary(a: FloatTensor<Self>, kernel: Operation) -> FloatTensor<Self>;
    fn binary(a: FloatTensor<Self>, b: FloatTensor<Self>, kernel: Operation) -> FloatTensor<Self>;
    fn ternary(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        kernel: Operation,
    ) -> FloatTensor<Self>;
    fn quaternary(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
        kernel: Operation,
    ) -> FloatTensor<Self>;
}

impl Kernels for Flex {
    fn unary(a: FlexTensor, kernel: Operation) -> FlexTensor {
        kernel.forward(vec![a], false).0
    }

    fn binary(a: FlexTensor, b: FlexTensor, kernel: Operation) -> FlexTensor {
        kernel.forward(vec![a, b], false).0
    }

    fn ternary(a: FlexTensor, b: FlexTensor, c: FlexTensor, kernel: Operation) -> FlexTensor {
        kernel.forward(vec![a, b, c], false).0
    }

    fn quaternary(
        a: FlexTensor,
        b: FlexTensor,
        c: FlexTensor,
        d: FlexTensor,
        kernel: Operation,
    ) -> FlexTensor {
        kernel.forward(vec![a, b, c, d], false).0
    }
}

impl<C: CheckpointStrategy> Kernels for Autodiff<Flex, C> {
    fn unary(a: FloatTensor<Self>, kernel: Operation) -> FloatTensor<Self> {
        record::<C, _>([a], kernel)
    }

    fn binary(a: FloatTensor<Self>, b: FloatTensor<Self>, kernel: Operation) -> FloatTensor<Self> {
        record::<C, _>([a, b], kernel)
    }

    fn ternary(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        kernel: Operation,
    ) -> FloatTensor<Self> {
        record::<C, _>([a, b, c], kernel)
    }

    fn quaternary(
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
        kernel: Operation,
    ) -> FloatTensor<Self> {
        record::<C, _>([a, b, c, d], kernel)
    }
}

/// Computes the result and notes on the graph how to go back.
fn record<C: CheckpointStrategy, const N: usize>(
    inputs: [FloatTensor<Autodiff<Flex, C>>; N],
    kernel: Operation,
) -> FloatTensor<Autodiff<Flex, C>> {
    let nodes = inputs.each_ref().map(|input| input.node());
    let prepared = Backward::<Flex, N>::prepare::<C>(Recorded, nodes).compute_bound().stateful();
    let inputs: Vec<FlexTensor> = inputs.into_iter().map(|input| input.into_primitive()).collect();
    match prepared {
        OpsKind::Tracked(prepared) => {
            let (output, kept) = kernel.forward(inputs, true);
            prepared.finish((kernel, kept), output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(kernel.forward(inputs, false).0),
    }
}

/// The way back through any kernel.
#[derive(Debug)]
struct Recorded;

impl<const N: usize> Backward<Flex, N> for Recorded {
    type State = (Operation, Vec<FlexTensor>);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let (kernel, kept) = ops.state;
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let gradients = kernel.backward(kept, gradient, &wanted);
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<Flex>(parent.id, gradient);
            }
        }
    }
}
