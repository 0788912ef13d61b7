from arcface_trainer.network.mindspore_settings import compute_environment


def test_what_the_user_has_set_stays():
    assert compute_environment({}, "cpu")["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert compute_environment({"ONEDNN_MAX_CPU_ISA": "SSE41"}, "cpu")["ONEDNN_MAX_CPU_ISA"] == "SSE41"
    assert "ONEDNN_MAX_CPU_ISA" not in compute_environment({}, "ascend")
