"""The section on parameters, multiply-adds, memory and speed."""

from mmengine.config import Config
from mmengine.model import BaseModel

from mmdensenet.analysis.stage_costs import ENGINES, count_stages, measure_memory, predict_memory
from mmdensenet.errors import UserError
from mmdensenet.terminal import each, waiting

from .paths import without_paths
from .speed import describe_device, measure_speed

#: the largest batch of which the speed is measured
MOST_AT_ONCE = 64


def cost_section(cfg: Config, model: BaseModel, shape: tuple[int, int, int], measure: bool) -> dict:
    """Return the page's values on cost.

    Args:
        shape: (C, H, W) of an image as the model takes it.
        measure: also measure the memory of training steps and the time of evaluations, on the model's device.
    """
    batch = (cfg.get('train_dataloader') or {}).get('batch_size', 1)
    device = next(model.parameters()).device
    content = dict(stages=[], no_stages='', engines=[], memories=[], no_memory='', speeds=[], batch=batch)
    content |= dict(shape='x'.join(map(str, shape)), device=describe_device(device), parameters=0, multiply_adds={})
    try:
        stages, reason = count_stages(cfg, shape)
    except UserError as error:
        content['no_stages'] = without_paths(f'The stages are not counted: {error}')
    else:
        engines = list(ENGINES[: 2 if reason is None else 1])
        content |= dict(
            stages=stages,
            engines=engines,
            parameters=sum(stage.parameters for stage in stages),
            multiply_adds={engine: sum(stage.multiply_adds[engine] for stage in stages) for engine in engines},
        )
        for engine in engines:
            predicted = predict_memory(cfg, shape, engine)
            content['memories'].append((engine, 'predicted', predicted))
            try:
                if measure:
                    with waiting(f'measuring the memory of a training step, {engine} engine'):
                        measured = measure_memory(cfg, shape, engine, str(device), predicted)
                    content['memories'].append((engine, 'measured', measured))
            except UserError as error:  # the rest of the report is worth having
                content['no_memory'] = without_paths(str(error))
    if measure:
        sizes = {1, min(MOST_AT_ONCE, cfg.test_dataloader.get('batch_size', 1))}
        sizes = each(sorted(sizes), 'measuring the time of evaluations')
        content['speeds'] = [measure_speed(model, shape, size) for size in sizes]
    return content
