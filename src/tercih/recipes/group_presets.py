"""Published settings of methods that compare the responses to a prompt, marked as in `presets.py`.

[code] is sail-sg/understand-r1-zero, examples/qwen2.5-math-7b.sh, and what it leaves to oat's defaults, for Liu et al.
2025, and verl's recipe/dapo/run_dapo_qwen2.5_32b.sh for Yu et al. 2025. [paper] is appendix C of Ahmadian et al. (three
excerpts that agree), §4.2 of Shao et al., §4.1 of Yu et al., §5.1 of Zheng et al. None of these papers learned a reward
from people: rewards are rules or, for Ahmadian et al. 2024, those of a reward model as Stiennon et al. 2020 made one.
"""

from tercih.algorithms.dapo import DAPO
from tercih.algorithms.dr_grpo import DrGRPO
from tercih.algorithms.grpo import GRPO
from tercih.algorithms.gspo import GSPO
from tercih.algorithms.rloo import RLOO
from tercih.optimisation import Optimisation
from tercih.recipes.preset import Preset
from tercih.recipes.stages import RolloutSettings
from tercih.rollout.sampling import Sampling

AHMADIAN2024 = Preset(
    paper="Ahmadian et al. 2024, Back to Basics: Revisiting REINFORCE Style Optimization (arXiv:2402.14740), TL;DR",
    sampling=Sampling(max_new_tokens=53),  # [guess] as in Huang et al. 2024
    policy=RolloutSettings(
        steps=600,  # [paper]
        prompts_per_step=256,  # [paper] 512 responses
        samples=2,  # [paper] 2 and 4 were tried
        method=RLOO(kl_coef=0.03),  # [paper]
        optimisation=Optimisation(lr=1e-6, schedule="constant", warmup=0.03),  # [paper]
    ),
    unverified=("sampling.max_new_tokens",),
    left_out=("two updates from each rollout: here one, on all of it",),
)

SHAO2024 = Preset(
    paper="Shao et al. 2024, DeepSeekMath (arXiv:2402.03300), GRPO with outcome supervision",
    sampling=Sampling(max_new_tokens=1024),  # [paper]
    policy=RolloutSettings(
        steps=9000,  # [guess] once through [paper] 144k questions
        prompts_per_step=16,  # [guess] that the paper's batch of 1024 counts responses
        samples=64,  # [paper]
        method=GRPO(
            kl_coef=0.04,  # [paper]
            clip=0.2,  # [guess] the paper does not say
            epochs=1,  # [paper] a single update after each rollout
            minibatches=1,  # [paper]
        ),
        optimisation=Optimisation(lr=1e-6, schedule="constant"),  # [paper] lr; schedule [guess]
    ),
    unverified=(
        "policy.steps",
        "policy.prompts_per_step",
        "policy.method.clip",
        "policy.optimisation.schedule",
    ),
    left_out=("process supervision: a reward for every step of the solution",),
)

LIU2025 = Preset(
    paper="Liu et al. 2025, Understanding R1-Zero-Like Training (arXiv:2503.20783), Oat-Zero 7B",
    sampling=Sampling(max_new_tokens=3000),  # [code] generate_max_length; temperature 1, top_p 1
    policy=RolloutSettings(
        steps=1330,  # [code] num_prompt_epoch: 20 times through [guess] 8.5k questions
        prompts_per_step=128,  # [code] rollout_batch_size
        samples=8,  # [code] num_samples
        method=DrGRPO(
            kl_coef=0.0,  # [code] beta
            clip=0.2,  # [code] oat's cliprange
            constant_length=3000,  # [code] the constant of masked_sum: generate_max_length
            epochs=1,  # [code] num_ppo_epochs
            minibatches=8,  # [code] train_batch_size 128 of 1024 responses
        ),
        optimisation=Optimisation(lr=1e-6, schedule="constant"),  # [code]
    ),
    unverified=("policy.steps",),
    left_out=(
        "a response that was cut has reward 0: let the reward function, or --rewards.missing-end-penalty, say so",
    ),
)

YU2025 = Preset(
    paper="Yu et al. 2025, DAPO: An Open-Source LLM Reinforcement Learning System at Scale (arXiv:2503.14476), 32B",
    sampling=Sampling(max_new_tokens=20 * 1024),  # [code] max_response_length; temperature 1, top_p 1
    policy=RolloutSettings(
        steps=300,  # [guess] 17k questions, again and again
        prompts_per_step=512,  # [code] train_prompt_bsz
        samples=16,  # [code] n_resp_per_prompt
        method=DAPO(
            clip_low=0.2,  # [code] clip_ratio_low
            clip_high=0.28,  # [code] clip_ratio_high
            epochs=1,  # [paper] 16 updates of 512 of 8192 responses
            minibatches=16,  # [code] train_prompt_mini_bsz 32
            refills=9,  # [code] max_num_gen_batches 10
        ),
        optimisation=Optimisation(
            lr=1e-6,  # [code]
            schedule="constant",  # [paper]
            warmup=10 / 300,  # [code] 10 steps; [paper] 20
            weight_decay=0.1,  # [code]
            max_norm=1.0,  # [code]
        ),
    ),
    overlong_buffer=4 * 1024,  # [code] overlong_buffer_len, at a penalty of 1
    unverified=("policy.steps",),
    left_out=(
        "groups are left out by correctness alone, here by the whole reward, length included",
        "further rounds ask three times as many prompts; here as many as are missing",
        "the warm-up counts updates of the optimiser; here it is a share of the rollouts",
    ),
)

ZHENG2025 = Preset(
    paper="Zheng et al. 2025, Group Sequence Policy Optimization (arXiv:2507.18071)",
    sampling=Sampling(max_new_tokens=32 * 1024),  # [guess] the paper does not say
    policy=RolloutSettings(
        steps=1000,  # [guess] the paper does not say
        prompts_per_step=128,  # [guess] the paper does not say
        samples=8,  # [guess] the paper does not say
        method=GSPO(
            kl_coef=0.0,  # [paper] left out
            clip_low=3e-4,  # [paper]
            clip_high=4e-4,  # [paper]
            epochs=1,  # [guess]
            minibatches=4,  # [paper]
        ),
        optimisation=Optimisation(lr=1e-6, schedule="constant"),  # [guess] the paper does not say
    ),
    unverified=(
        "sampling.max_new_tokens",
        "policy.steps",
        "policy.prompts_per_step",
        "policy.samples",
        "policy.method.epochs",
        "policy.optimisation",
    ),
)
