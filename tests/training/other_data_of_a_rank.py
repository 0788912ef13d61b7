"""A rank whose images lie in `FOLDER/images-RANK`: writes what it is refused with to `FOLDER/refusal-RANK`."""

import os
import sys
from pathlib import Path

from arcface_api.contract.pod_environment import RankIdentity
from arcface_api.contract.run_config import RunConfig
from arcface_api.errors import InvalidInput
from arcface_trainer.training.rank import build_training_loop


def main() -> None:
    folder, rank = Path(sys.argv[1]), int(os.environ["MS_NODE_ID"])
    config = RunConfig.read(folder / f"run-{rank}.json")
    try:
        build_training_loop(config, RankIdentity.from_environment(os.environ), rank)
    except InvalidInput as error:
        (folder / f"refusal-{rank}").write_text(str(error))


if __name__ == "__main__":
    main()
