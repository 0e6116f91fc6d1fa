//! How large a network is, from its shapes alone.

use super::vision::{Convolution, Padding};

/// What a network costs up to some layer, and the shape of one clip there: written down once a model, in the order of
/// its layers, and tested against the network that is built. Nothing is allocated.
///
/// Multiply-adds are those of convolutions, dense and recurrent layers for one clip, as papers count them; pooling,
/// normalisation and activations are left out. All arithmetic saturates: a bundle is a stranger's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// `[channels, height, width]` of one clip; a flat vector is `[units, 1, 1]`.
    pub shape: [usize; 3],
    /// Numbers the optimiser may change, as PyTorch counts.
    pub trainable: usize,
    /// Numbers that are measured and not trained: moving means and variances of batch normalisation, principal components.
    pub statistics: usize,
    /// Multiplications with addition for one clip.
    pub multiply_adds: usize,
}

impl Count {
    /// Nothing yet, in front of the first layer.
    pub fn new(shape: [usize; 3]) -> Self {
        Self { shape, trainable: 0, statistics: 0, multiply_adds: 0 }
    }

    /// Everything that is stored, as Keras counts.
    pub fn parameters(&self) -> usize {
        self.trainable.saturating_add(self.statistics)
    }

    /// A convolution with bias, stride 1 and "same" padding, kernel `[height, width]`.
    pub fn conv(self, c_out: usize, kernel: [usize; 2]) -> Self {
        let [_, height, width] = self.shape;
        self.conv_to([c_out, height, width], kernel)
    }

    /// A convolution with bias whose result is `[channels, height, width]`.
    pub fn conv_to(self, to: [usize; 3], kernel: [usize; 2]) -> Self {
        let weights = product(&[self.shape[0], to[0], kernel[0], kernel[1]]);
        self.layer(weights.saturating_add(to[0]), product(&[weights, to[1], to[2]]), to)
    }

    /// A convolution with padding, stride and groups of its own.
    pub fn convolution(self, conv: &Convolution) -> Self {
        let [c_in, height, width] = self.shape;
        let places = |size, kernel| conv.padding.places(size, kernel, conv.stride);
        let to = [conv.c_out, places(height, conv.kernel[0]), places(width, conv.kernel[1])];
        let weights = product(&[conv.depth(c_in), conv.c_out, conv.kernel[0], conv.kernel[1]]);
        let biases = if conv.bias { conv.c_out } else { 0 };
        self.layer(weights.saturating_add(biases), product(&[weights, to[1], to[2]]), to)
    }

    /// Layers beside the others, whose result is added to theirs: a short cut, or weights of the channels.
    pub fn beside(self, layers: impl FnOnce(Self) -> Self) -> Self {
        Self { shape: self.shape, ..layers(self) }
    }

    /// Batch normalisation: scale and shift, moving mean and variance.
    pub fn batch_norm(mut self) -> Self {
        let channels = self.shape[0];
        self.statistics = self.statistics.saturating_add(channels.saturating_mul(2));
        self.layer(channels.saturating_mul(2), 0, self.shape)
    }

    /// Batch normalisation that only shifts.
    pub fn batch_norm_without_scale(self) -> Self {
        let whole = self.batch_norm();
        Self { trainable: whole.trainable.saturating_sub(self.shape[0]), ..whole }
    }

    /// Branches that all begin here; the channels of their results stand one after the other.
    pub fn branches(self, branches: impl IntoIterator<Item = Self>) -> Self {
        let mut sum = Self { shape: [0, self.shape[1], self.shape[2]], ..self };
        for branch in branches {
            let [channels, height, width] = branch.shape;
            sum.shape = [sum.shape[0].saturating_add(channels), height, width];
            sum.trainable = sum.trainable.saturating_add(branch.trainable - self.trainable);
            sum.statistics = sum.statistics.saturating_add(branch.statistics - self.statistics);
            sum.multiply_adds = sum.multiply_adds.saturating_add(branch.multiply_adds - self.multiply_adds);
        }
        sum
    }

    /// Maximum or mean over windows as large as their stride; what does not fill a window is dropped.
    pub fn pool(self, window: [usize; 2]) -> Self {
        let [channels, height, width] = self.shape;
        self.layer(0, 0, [channels, height / window[0], width / window[1]])
    }

    /// Maximum or mean over 3 x 3 places, every second one.
    pub fn pool_3x3(self, padding: Padding) -> Self {
        let [channels, height, width] = self.shape;
        self.layer(0, 0, [channels, padding.places(height, 3, 2), padding.places(width, 3, 2)])
    }

    /// Maximum over 2 x 2 places, an odd last row or column a window of its own.
    pub fn pool_2x2_padded(self) -> Self {
        let [channels, height, width] = self.shape;
        self.layer(0, 0, [channels, height.div_ceil(2), width.div_ceil(2)])
    }

    /// The mean of each channel.
    pub fn global_pool(self) -> Self {
        self.layer(0, 0, [self.shape[0], 1, 1])
    }

    /// The map averaged with weights that a dense layer of one unit gives each place.
    pub fn attention(self) -> Self {
        let [channels, height, width] = self.shape;
        self.layer(channels.saturating_add(1), product(&[2, channels, height, width]), [channels, 1, 1])
    }

    /// The whole map as one vector.
    pub fn flatten(self) -> Self {
        self.layer(0, 0, [product(&self.shape), 1, 1])
    }

    /// A dense layer with bias on a flat vector.
    pub fn dense(self, units: usize) -> Self {
        let weights = self.shape[0].saturating_mul(units);
        self.layer(weights.saturating_add(units), weights, [units, 1, 1])
    }

    /// A recurrent layer ([`super::Lstm`]) over the columns of `[channels, height, width]`; its result is
    /// `[1, units, width]`, a column a step.
    pub fn lstm(self, units: usize) -> Self {
        let [channels, height, steps] = self.shape;
        let d_input = channels.saturating_mul(height);
        let weights = product(&[4, units, d_input.saturating_add(units)]);
        self.layer(weights.saturating_add(4 * units), weights.saturating_mul(steps), [1, units, steps])
    }

    /// Only the last step of a recurrent layer's result.
    pub fn last_step(self) -> Self {
        self.layer(0, 0, [self.shape[1], 1, 1])
    }

    /// A convolution with bias, stride 1 and "same" padding that keeps the channels apart.
    pub fn depthwise_conv(self, kernel: [usize; 2]) -> Self {
        let [channels, height, width] = self.shape;
        let weights = product(&[channels, kernel[0], kernel[1]]);
        self.layer(weights.saturating_add(channels), product(&[weights, height, width]), self.shape)
    }

    /// Layer or group normalisation: scale and shift.
    pub fn layer_norm(self) -> Self {
        self.layer(self.shape[0].saturating_mul(2), 0, self.shape)
    }

    /// Attention among the columns of `[size, 1, steps]`: dense layers with bias for queries, keys, values and the
    /// result; scores and weighted sums.
    pub fn self_attention(self) -> Self {
        let [size, height, steps] = self.shape;
        let weights = product(&[4, size, size]);
        let pairs = product(&[2, size, height, steps, steps]);
        let multiply_adds = product(&[weights, height, steps]).saturating_add(pairs);
        self.layer(weights.saturating_add(size.saturating_mul(4)), multiply_adds, self.shape)
    }

    /// Trainable numbers that are only added, and another shape.
    pub fn with(self, trainable: usize, shape: [usize; 3]) -> Self {
        self.layer(trainable, 0, shape)
    }

    /// A projection of a flat vector on as many components around a mean; not trained.
    pub fn projection(mut self) -> Self {
        let size = self.shape[0];
        let weights = size.saturating_mul(size);
        self.statistics = self.statistics.saturating_add(weights).saturating_add(size);
        self.layer(0, weights, self.shape)
    }

    /// The same `layer`, which keeps the shape, `times` times, each with its own weights.
    pub fn repeat(self, times: usize, layer: impl FnOnce(Self) -> Self) -> Self {
        let one = layer(Self::new(self.shape));
        Self {
            shape: self.shape,
            trainable: self.trainable.saturating_add(one.trainable.saturating_mul(times)),
            statistics: self.statistics.saturating_add(one.statistics.saturating_mul(times)),
            multiply_adds: self.multiply_adds.saturating_add(one.multiply_adds.saturating_mul(times)),
        }
    }

    /// Everything up to here for `times` parts of a clip, with the same weights.
    pub fn on_parts(self, times: usize) -> Self {
        Self { multiply_adds: self.multiply_adds.saturating_mul(times), ..self }
    }

    fn layer(self, trainable: usize, multiply_adds: usize, shape: [usize; 3]) -> Self {
        Self {
            shape,
            trainable: self.trainable.saturating_add(trainable),
            multiply_adds: self.multiply_adds.saturating_add(multiply_adds),
            ..self
        }
    }
}

fn product(factors: &[usize]) -> usize {
    factors.iter().fold(1, |product, factor| product.saturating_mul(*factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_a_small_network_by_hand() {
        // 3 x 3 convolution of a 4 x 6 map to two channels, normalised, pooled to 2 x 3, dense to 5.
        let count = Count::new([1, 4, 6]).conv(2, [3, 3]).batch_norm().pool([2, 2]).flatten().dense(5);
        assert_eq!(count.shape, [5, 1, 1]);
        assert_eq!(count.trainable, (9 * 2 + 2) + 4 + (12 * 5 + 5));
        assert_eq!((count.statistics, count.parameters()), (4, count.trainable + 4));
        assert_eq!(count.multiply_adds, 18 * 24 + 60);
    }

    #[test]
    fn counts_a_transformer_layer_by_hand() {
        let layer = |count: Count| count.layer_norm().self_attention().depthwise_conv([1, 3]);
        let count = Count::new([2, 1, 5]).repeat(7, layer).with(3, [2, 1, 5]);
        assert_eq!(count.trainable, 7 * (4 + (4 * 4 + 4 * 2) + (3 * 2 + 2)) + 3);
        assert_eq!(count.multiply_adds, 7 * (16 * 5 + 2 * 2 * 25 + 6 * 5));
        let parts = Count::new([4, 1, 1]).dense(3).projection().on_parts(2);
        assert_eq!((parts.trainable, parts.statistics, parts.multiply_adds), (15, 12, 2 * (12 + 9)));
    }

    #[test]
    fn impossible_sizes_do_not_overflow() {
        let count = Count::new([usize::MAX; 3]).conv(usize::MAX, [3, 3]).flatten().dense(7).lstm(8);
        assert_eq!(count.parameters(), usize::MAX);
    }
}
