"""Arguments of operators that other packages register, as they publish them.

Only the names, in order: flash-attn 2 (its interface module), flash-attn 3 (its C++
library and interface), and flash-attn 2 as a kernel hub builds it (its binding). Read
at the heads of August 2026.
"""

_WINDOW = "window_size_left window_size_right"
_OUTPUTS = "dout q k v out softmax_lse"
_FLASH_3 = (
    "q k v k_new v_new q_v out cu_seqlens_q cu_seqlens_k cu_seqlens_k_new seqused_q"
    " seqused_k max_seqlen_q max_seqlen_k page_table kv_batch_idx leftpad_k rotary_cos"
    " rotary_sin seqlens_rotary q_descale k_descale v_descale softmax_scale is_causal "
    + _WINDOW
    + " attention_chunk softcap is_rotary_interleaved scheduler_metadata num_splits"
    " pack_gqa sm_margin"
)
_AFTER_3 = f" softmax_scale is_causal {_WINDOW} softcap deterministic sm_margin"

PUBLISHED = {
    "flash_attn::_flash_attn_forward": (
        f"q k v dropout_p softmax_scale causal {_WINDOW} softcap alibi_slopes"
        " return_softmax"
    ),
    "flash_attn::_flash_attn_backward": (
        f"{_OUTPUTS} dq dk dv dropout_p softmax_scale causal {_WINDOW} softcap"
        " alibi_slopes deterministic rng_state"
    ),
    "flash_attn::_flash_attn_varlen_forward": (
        "q k v cu_seqlens_q cu_seqlens_k max_seqlen_q max_seqlen_k dropout_p"
        f" softmax_scale causal {_WINDOW} softcap alibi_slopes return_softmax"
        " block_table leftpad_k seqused_k zero_tensors num_splits"
    ),
    "flash_attn::_flash_attn_varlen_backward": (
        f"{_OUTPUTS} dq dk dv cu_seqlens_q cu_seqlens_k max_seqlen_q max_seqlen_k"
        f" dropout_p softmax_scale causal {_WINDOW} softcap alibi_slopes deterministic"
        " rng_state zero_tensors"
    ),
    "flash_attn_3::fwd": _FLASH_3,
    "flash_attn_3::_flash_attn_forward": _FLASH_3,
    "flash_attn_3::bwd": (
        f"{_OUTPUTS} dq dk dv cu_seqlens_q cu_seqlens_k seqused_q seqused_k"
        " max_seqlen_q max_seqlen_k" + _AFTER_3
    ),
    "flash_attn_3::_flash_attn_backward": (
        f"{_OUTPUTS} cu_seqlens_q cu_seqlens_k sequed_q sequed_k max_seqlen_q"
        " max_seqlen_k dq dk dv" + _AFTER_3
    ),
    "flash_attn_2::fwd": (
        f"q k v out_ alibi_slopes_ p_dropout softmax_scale is_causal {_WINDOW} softcap"
        " return_softmax gen_"
    ),
    "flash_attn_2::varlen_fwd": (
        "q k v out_ cu_seqlens_q cu_seqlens_k seqused_k_ leftpad_k_ block_table_"
        " alibi_slopes_ max_seqlen_q max_seqlen_k p_dropout softmax_scale zero_tensors"
        f" is_causal {_WINDOW} softcap return_softmax gen_"
    ),
    "flash_attn_2::bwd": (
        f"{_OUTPUTS} dq_ dk_ dv_ alibi_slopes_ p_dropout softmax_scale is_causal"
        f" {_WINDOW} softcap deterministic gen_ rng_state"
    ),
    "flash_attn_2::varlen_bwd": (
        f"{_OUTPUTS} dq_ dk_ dv_ cu_seqlens_q cu_seqlens_k alibi_slopes_ max_seqlen_q"
        f" max_seqlen_k p_dropout softmax_scale zero_tensors is_causal {_WINDOW}"
        " softcap deterministic gen_ rng_state"
    ),
}
