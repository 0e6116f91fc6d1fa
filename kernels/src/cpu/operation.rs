//! How a kernel becomes an operation of Burn, with and without automatic differentiation.

use std::fmt;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn_flex::FlexTensor;

/// A function of `N` tensors. It is told whether anybody will go the way back, and else need not find what only that needs.
pub type Kernel<const N: usize> = Box<dyn FnOnce([FlexTensor; N], bool) -> Done<N>>;

/// The result of a kernel, and the way back.
pub type Done<const N: usize> = (FlexTensor, WayBack<N>);

/// Turns the gradient of a result into those of the inputs, at least of those that are wanted. It holds what that needs.
#[derive(Clone)]
pub struct WayBack<const N: usize>(Arc<Back<N>>);

type Back<const N: usize> = dyn Fn(FlexTensor, [bool; N]) -> [Option<FlexTensor>; N] + Send + Sync;

impl<const N: usize> WayBack<N> {
    pub fn new(
        back: impl Fn(FlexTensor, [bool; N]) -> [Option<FlexTensor>; N] + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(back))
    }
}

impl WayBack<3> {
    /// The way back to the first two inputs, where there was no third.
    pub fn without_third(self) -> WayBack<2> {
        WayBack::new(move |gradient, [first, second]| {
            let [first, second, _] = self.0(gradient, [first, second, false]);
            [first, second]
        })
    }
}

impl<const N: usize> fmt::Debug for WayBack<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the way back to {N} inputs")
    }
}

/// Tensors that a kernel can be applied to, on the CPU back end, with or without automatic differentiation.
pub trait Apply<const N: usize> {
    /// The result, of `D` axes.
    fn apply<const D: usize>(
        self,
        kernel: impl FnOnce([FlexTensor; N], bool) -> Done<N> + 'static,
    ) -> Tensor<D>;
}

/// Burn's trait of operations has no lists of tensors: an operation for each number of inputs.
macro_rules! kernels {
    ($($name:ident $count:literal ($($input:ident $axes:ident),+))+) => {
        #[backend_extension(Flex, Autodiff)]
        pub trait Kernels: Backend {
            $(fn $name($($input: FloatTensor<Self>,)+ kernel: Kernel<$count>) -> FloatTensor<Self>;)+
        }

        impl Kernels for Flex {
            $(fn $name($($input: FlexTensor,)+ kernel: Kernel<$count>) -> FlexTensor {
                kernel([$($input),+], false).0
            })+
        }

        impl<C: CheckpointStrategy> Kernels for Autodiff<Flex, C> {
            $(fn $name($($input: FloatTensor<Self>,)+ kernel: Kernel<$count>) -> FloatTensor<Self> {
                record::<C, $count>([$($input),+], kernel)
            })+
        }

        $(impl<$(const $axes: usize),+> Apply<$count> for ($(Tensor<$axes>,)+) {
            fn apply<const D: usize>(
                self,
                kernel: impl FnOnce([FlexTensor; $count], bool) -> Done<$count> + 'static,
            ) -> Tensor<D> {
                let ($($input,)+) = self;
                Tensor::from_dispatch(Dispatch::$name($($input.into_dispatch(),)+ Box::new(kernel)))
            }
        })+
    };
}

kernels! {
    unary 1 (a A)
    binary 2 (a A, b B)
    ternary 3 (a A, b B, c E)
    quaternary 4 (a A, b B, c E, d F)
}

/// Computes the result and notes on the graph how to go back.
fn record<C: CheckpointStrategy, const N: usize>(
    inputs: [FloatTensor<Autodiff<Flex, C>>; N],
    kernel: Kernel<N>,
) -> FloatTensor<Autodiff<Flex, C>> {
    let nodes = inputs.each_ref().map(|input| input.node());
    let prepared = Backward::<Flex, N>::prepare::<C>(Recorded, nodes).compute_bound().stateful();
    let inputs = inputs.map(|input| input.into_primitive());
    match prepared {
        OpsKind::Tracked(prepared) => {
            let (output, back) = kernel(inputs, true);
            prepared.finish(back, output)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(kernel(inputs, false).0),
    }
}

/// The way back through any kernel.
#[derive(Debug)]
struct Recorded;

impl<const N: usize> Backward<Flex, N> for Recorded {
    type State = WayBack<N>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let gradients = ops.state.0(gradient, ops.parents.each_ref().map(Option::is_some));
        drop(ops.state);
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<Flex>(parent.id, gradient);
            }
        }
    }
}
