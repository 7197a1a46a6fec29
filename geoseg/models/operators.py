"""Operators that a network from a .pt2 file may be built of.

A list of what is allowed, not of what is dangerous: torch resolves the name of an operator to whatever it
finds under ``torch``, be it a kernel that maps a file into memory or a function of the standard library.
"""

from __future__ import annotations

import re

__all__ = ["allowed_operator"]

#: Operators of the ``aten`` namespace, without their overload; each also in place (``relu_``).
_ATEN_NAMES = """
    _adaptive_avg_pool2d _assert_async _assert_scalar _assert_tensor_metadata _convolution _log_softmax
    _native_batch_norm_legit _native_batch_norm_legit_no_training
    _scaled_dot_product_flash_attention_for_cpu _softmax _to_copy _unsafe_index _unsafe_view
    _upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_nearest_exact2d
    abs acos acosh adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool1d adaptive_max_pool2d add
    addbmm addcdiv addcmul addmm affine_grid_generator alias all amax amin aminmax any arange argmax argmin
    argsort as_strided asin asinh atan atan2 atanh avg_pool1d avg_pool2d
    baddbmm batch_norm bernoulli bitwise_and bitwise_not bitwise_or bitwise_xor bmm broadcast_tensors
    broadcast_to bucketize
    cat ceil celu channel_shuffle chunk clamp clamp_max clamp_min clip clone col2im column_stack concat
    concatenate constant_pad_nd contiguous conv1d conv2d conv_transpose1d conv_transpose2d convolution copy
    cos cosh cumprod cumsum
    detach diag diagonal div divide dot dropout dropout2d
    einsum elu embedding empty empty_like eq equal erf exp exp2 expand expand_as expm1 eye
    feature_dropout fill flatten flip fliplr flipud floor floor_divide fmax fmin fmod frac full full_like
    gather ge gelu getitem glu greater greater_equal grid_sampler grid_sampler_2d group_norm gt
    hardshrink hardsigmoid hardswish hardtanh hstack
    im2col index index_add index_copy index_fill index_put index_select instance_norm isfinite isinf isnan
    item
    kthvalue
    layer_norm le leaky_relu lerp less less_equal lift lift_fresh lift_fresh_copy linalg_vector_norm linear
    linspace log log10 log1p log2 log_sigmoid log_softmax logaddexp logical_and logical_not logical_or
    logical_xor logit logsumexp lt
    masked_fill masked_scatter masked_select matmul max max_pool2d max_pool2d_with_indices max_unpool2d
    maximum mean median meshgrid min minimum mish mm moveaxis movedim mse_loss mul multiply mv
    nan_to_num narrow native_batch_norm native_dropout native_group_norm native_layer_norm ne neg negative
    new_empty new_full new_ones new_zeros nonzero norm normal not_equal numel numpy_T
    one_hot ones ones_like
    pad permute permute_copy pixel_shuffle pixel_unshuffle positive pow prelu prod
    rand rand_like randint randn randn_like randperm reciprocal reflection_pad1d reflection_pad2d relu relu6
    remainder repeat repeat_interleave replication_pad1d replication_pad2d reshape reshape_as resolve_conj
    resolve_neg rms_norm roll rot90 round rrelu rsqrt rsub
    scalar_tensor scaled_dot_product_attention scatter scatter_add scatter_reduce searchsorted select
    select_copy select_scatter selu sigmoid sign silu sin sinh size slice slice_copy slice_scatter softmax
    softplus softshrink sort split split_copy split_with_sizes split_with_sizes_copy sqrt square squeeze
    squeeze_copy stack std std_mean stride sub subtract sum swapaxes swapdims sym_constrain_range
    sym_constrain_range_for_size sym_numel sym_size sym_storage_offset sym_stride
    t tan tanh tensor_split threshold tile to topk transpose transpose_copy tril triu true_divide trunc
    type_as
    unbind unflatten unfold uniform unsafe_chunk unsafe_split unsafe_split_with_sizes unsqueeze
    unsqueeze_copy upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d
    upsample_nearest2d
    var var_mean view view_as view_copy vstack
    where
    xlogy
    zero zeros zeros_like
"""
#: Arithmetic on sizes, and blocks of a graph that run without gradients, in mixed precision or by condition.
_OTHER_NAMES = """
    _operator.add _operator.and_ _operator.eq _operator.floordiv _operator.ge _operator.getitem _operator.gt
    _operator.le _operator.lt _operator.mod _operator.mul _operator.ne _operator.neg _operator.or_
    _operator.pos _operator.sub _operator.truediv
    math.ceil math.floor math.trunc
    torch._sym_sqrt torch.sym_float torch.sym_int torch.sym_ite torch.sym_max torch.sym_min torch.sym_not
    torch.sym_sum
    torch.ops.higher_order.cond torch.ops.higher_order.wrap_with_autocast
    torch.ops.higher_order.wrap_with_set_grad_enabled
"""
_ATEN = frozenset(_ATEN_NAMES.split())
_OTHERS = frozenset(_OTHER_NAMES.split())
#: Attributes of torch's own objects stand under the same names as overloads: ``op``, ``__init__``.
_OVERLOAD = re.compile(r"torch\.ops\.aten\.(?P<name>\w+)\.(?!op$|overloads$)[A-Za-z]\w*")


def allowed_operator(target: str) -> bool:
    """Whether a graph may call the operator of this name, as a .pt2 file spells it.

    Examples
    --------
    >>> allowed_operator("torch.ops.aten.relu_.default")
    True
    >>> allowed_operator("torch.ops.aten.from_file.default"), allowed_operator("torch.os.system")
    (False, False)
    >>> allowed_operator("torch.ops.aten.relu.__init__"), allowed_operator("torch.ops.aten.relu.op")
    (False, False)
    """
    match = _OVERLOAD.fullmatch(target)
    if match is None:
        return target in _OTHERS
    return match["name"] in _ATEN or match["name"].removesuffix("_") in _ATEN
