"""Products of matrices: dense, sparse, grouped. Core.

[m, k] times [k, n] is 2·m·k·n. A sparse operand takes part with the elements that it
stores, each of which meets one row or column of the other operand.
"""

from typing import Any

from flopguard_hook.formulas import Arguments, Options, formula, prod


def stored(operand: Any) -> int:
    """Return the number of elements that take part in a product.

    A sparse tensor knows how many it stores, without reading them. One stored in
    blocks is charged as if it were dense: an upper bound.
    """
    if getattr(operand, "is_sparse", False):
        return int(operand._nnz()) * prod(operand.shape[operand.sparse_dim() :])
    if getattr(operand, "is_sparse_csr", False):
        return int(operand._nnz())
    return prod(operand.shape) * _per_element(operand)


def _per_element(operand: Any) -> int:
    """Return how many numbers an element holds: two of 4 bit share a byte."""
    return 2 if str(getattr(operand, "dtype", "")).endswith("_x2") else 1


@formula(
    "aten::mm",
    "aten::bmm",
    "aten::_sparse_mm",
    "aten::_scaled_mm",
    "aten::_scaled_mm_v2",
    "aten::_sparse_mm_reduce_impl",
    "_native::bmm_triton_0",
)
def matrix_product(args: Arguments, _: Options) -> int:
    """Charge [b,] m x k times [b,] k x n as 2·b·m·k·n."""
    left, right = args[:2]
    if getattr(right, "is_sparse", False) or getattr(right, "is_sparse_csr", False):
        return 2 * stored(right) * int(left.shape[-2])
    return 2 * stored(left) * int(right.shape[-1])


@formula("aten::_int_mm", format="int8")
def integer_product(args: Arguments, _: Options) -> int:
    """Charge m x k times k x n of 8-bit integers."""
    return matrix_product(args, _)


@formula(
    "aten::addmm",
    "aten::baddbmm",
    "aten::addbmm",
    "aten::_addmm_activation",
    "aten::_scaled_addmm",
    "aten::_scaled_addmm_",
    "aten::_sparse_addmm",
    "aten::addmm_",
    "aten::baddbmm_",
    "aten::addbmm_",
    "aten::sspaddmm",
    operand=1,
)
def added_matrix_product(args: Arguments, _: Options) -> int:
    """Charge the product of the second and third argument."""
    return matrix_product(args[1:], _)


@formula("aten::sparse_sampled_addmm", operand=1)
def sampled_product(args: Arguments, _: Options) -> int:
    """Charge k products for each element that the first argument stores."""
    return 2 * stored(args[0]) * int(args[1].shape[-1])


@formula("inductor::_mm_plus_mm")
def sum_of_products(args: Arguments, _: Options) -> int:
    """Charge the product of the first two and that of the next two arguments."""
    return matrix_product(args, _) + matrix_product(args[2:], _)


@formula("aten::_foreach_mm", "_native::_foreach_mm_native_1")
def list_of_products(args: Arguments, _: Options) -> int:
    """Charge each matrix of one list times the one of the other."""
    return sum(matrix_product(pair, _) for pair in zip(args[0], args[1]))


@formula("symm_mem::fused_matmul_reduce_scatter")
def scattered_product(args: Arguments, _: Options) -> int:
    """Charge this process's product, [..., k] times k x n, whose sum is scattered."""
    return 2 * prod(args[0].shape) * int(args[1].shape[-1])


@formula("symm_mem::fused_scaled_matmul_reduce_scatter")
def scaled_scattered_product(args: Arguments, _: Options) -> int:
    """Charge the same of scaled operands."""
    return scattered_product(args, _)


@formula("aten::mv", "aten::dot", "aten::vdot")
def vector_product(args: Arguments, _: Options) -> int:
    """Charge m x n times n, or n times n, as 2·m·n or 2·n."""
    return 2 * stored(args[0])


@formula("aten::addmv", "aten::addmv_", operand=1)
def added_vector_product(args: Arguments, _: Options) -> int:
    """Charge the product of the second and third argument."""
    return vector_product(args[1:], _)


@formula("aten::addr", "aten::addr_", operand=1)
def added_outer_product(args: Arguments, _: Options) -> int:
    """Charge m times n, added to a matrix, as 2·m·n."""
    return 2 * prod(args[1].shape) * prod(args[2].shape)


@formula("aten::linear", "aten::mkldnn_linear")
def linear(args: Arguments, _: Options) -> int:
    """Charge [..., k] times a weight n x k as 2·(elements of the input)·n."""
    return 2 * stored(args[0]) * int(args[1].shape[0])


@formula("mkldnn::_linear_pointwise")
def fused_linear(args: Arguments, _: Options) -> int:
    """Charge (input, weight, bias, name, ...) or (input, other, weight, bias, name)."""
    weight = args[1] if isinstance(args[3], str) else args[2]
    return 2 * prod(args[0].shape) * int(weight.shape[0])


@formula("mkl::_mkl_linear")
def packed_linear(args: Arguments, _: Options) -> int:
    """Charge (input, weight packed, weight as it was, ...)."""
    return 2 * prod(args[0].shape) * int(args[2].shape[0])


@formula("aten::linear_backward", "aten::mkldnn_linear_backward")
def linear_backward(args: Arguments, _: Options) -> int:
    """Charge (input, grad, weight, mask): as much as the forward for each gradient."""
    image, _gradient, weight, mask = args[:4]
    forward = 2 * prod(image.shape) * int(weight.shape[0])
    return forward * (int(mask[0]) + int(mask[1]))


@formula("aten::mkldnn_linear_backward_input", operand=1)
def linear_backward_input(args: Arguments, _: Options) -> int:
    """Charge (size of the input, grad, weight)."""
    return 2 * prod(args[1].shape) * int(args[2].shape[1])


@formula("aten::mkldnn_linear_backward_weights")
def linear_backward_weight(args: Arguments, _: Options) -> int:
    """Charge (grad, input, weight, ...)."""
    return 2 * prod(args[1].shape) * int(args[2].shape[0])


@formula(
    "aten::_grouped_mm",
    "aten::_scaled_grouped_mm",
    "aten::_scaled_grouped_mm_v2",
    "transformers::grouped_mm_fallback",
    "torchao::emulated_blockwise_scaled_grouped_mm",
)
def grouped_matrix_product(args: Arguments, _: Options) -> int:
    """Charge a product whose rows, columns or inner dimension is split into groups.

    2-d by 3-d (experts' forward): T x k times G x k x n is 2·T·k·n, every row meets one
    group's matrix; 3-d by 2-d and 2-d by 2-d (the gradients) likewise; 3-d by 3-d is a
    batch. Rows that lie in no group are charged too, an upper bound that shapes alone
    decide: the offsets are on the device, and without them steps can be replayed.
    """
    left, right = args[0].shape, args[1].shape
    inner = int(left[-1]) * _per_element(args[0])
    if len(left) == len(right):
        return 2 * prod(left[:-1]) * inner * int(right[-1])
    return 2 * int(left[-2]) * inner * int(right[-1])


@formula("transformers::grouped_mm_fallback_backward")
def grouped_product_backward(args: Arguments, _: Options) -> int:
    """Charge (input, weight, offsets, grad): both gradients, each as the forward."""
    return 2 * grouped_matrix_product(args, _)


@formula("aten::_trilinear")
def trilinear(args: Arguments, _: Options) -> int:
    """Charge the sum over products of three factors, as two products of pairs.

    Arguments: three tensors, the dimensions that each lacks, ...; the factors span one
    common space, and each of its points is met twice.
    """
    tensors, lacking = args[:3], args[3:6]
    sizes: dict[int, int] = {}
    for tensor, missing in zip(tensors, lacking):
        shape = iter(tensor.shape)
        for dimension in range(len(tensor.shape) + len(missing)):
            if dimension not in missing:
                sizes[dimension] = max(sizes.get(dimension, 1), int(next(shape)))
    return 4 * prod(list(sizes.values()))


@formula("aten::_cdist_forward")
def distances(args: Arguments, _: Options) -> int:
    """Charge a difference, its power and a sum for each pair and coordinate."""
    return 3 * _pairs(args[0], args[1])


@formula("aten::_cdist_backward")
def distances_backward(args: Arguments, _: Options) -> int:
    """Charge (grad, x1, x2, ...): a difference, its power, the gradient, a sum."""
    return 4 * _pairs(args[1], args[2])


@formula("aten::_euclidean_dist")
def euclidean_distances(args: Arguments, _: Options) -> int:
    """Charge (x1, x2) as one product: of the coordinates and of both squared norms."""
    pairs = prod(args[0].shape[:-1]) * int(args[1].shape[-2])
    return 2 * pairs * (int(args[0].shape[-1]) + 2)


@formula("aten::_pdist_forward")
def own_distances(args: Arguments, _: Options) -> int:
    """Charge n x k: a difference, its power and a sum for each pair and coordinate."""
    rows, width = (int(size) for size in args[0].shape)
    return 3 * width * rows * (rows - 1) // 2


@formula("aten::_pdist_backward", operand=1)
def own_distances_backward(args: Arguments, _: Options) -> int:
    """Charge (grad, x, ...): a difference, its power, the gradient, a sum."""
    rows, width = (int(size) for size in args[1].shape)
    return 4 * width * rows * (rows - 1) // 2


def _pairs(left: Any, right: Any) -> int:
    return prod(left.shape) * int(right.shape[-2])


@formula("aten::_sparse_semi_structured_mm")
def half_sparse_product(args: Arguments, _: Options) -> int:
    """Charge what is stored, half of the matrix: (packed [m, k/2], meta, [k, n])."""
    return 2 * prod(args[0].shape) * int(args[2].shape[-1])


@formula("aten::_sparse_semi_structured_addmm", operand=1)
def added_half_sparse_product(args: Arguments, _: Options) -> int:
    """Charge (bias, packed, meta, dense)."""
    return half_sparse_product(args[1:], _)


@formula("aten::_sparse_semi_structured_linear")
def half_sparse_linear(args: Arguments, _: Options) -> int:
    """Charge (input [..., k], packed weight [n, k/2], meta)."""
    return 2 * prod(args[0].shape[:-1]) * prod(args[1].shape)
