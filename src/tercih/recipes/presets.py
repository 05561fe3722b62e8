"""Published settings of RLHF on language models, in full, each value with its source.

Sources, by mark:

[code]   read in the released code: openai/lm-human-preferences, and its line-by-line reproduction (peers.md §5)
[huang]  read in Huang et al. 2024's reproduction of Stiennon et al. (arXiv:2403.17031), summarize_from_feedback_details
[paper]  read in the paper: appendix B of Stiennon et al., appendix C of Ouyang et al.
[guess]  neither paper nor code says it; `Preset.unverified` lists these too

Some details no preset has to say, because they hold for everything here: reward head N(0, 1/√(d+1)) and bias 0
(`RewardModel`), value head exactly 0 and dropout off (`LanguageModel`), k1 for the KL, the score on the last token and
returns from unwhitened advantages (`PPO`), padding that nothing real sees and scores read at the last real token
(`models/layout.py`).
"""

from tercih.algorithms.bradley_terry import BradleyTerry
from tercih.algorithms.plackett_luce import PlackettLuce
from tercih.algorithms.ppo import PPO
from tercih.data import collate
from tercih.optimisation import Optimisation
from tercih.recipes.group_presets import AHMADIAN2024, LIU2025, SHAO2024, YU2025, ZHENG2025
from tercih.recipes.preset import PPOPreset, Preset, RewardModelling
from tercih.recipes.stages import PolicySettings
from tercih.rollout.sampling import Sampling

NO_CLIPPING = None  # of the gradient norm

ZIEGLER2019 = PPOPreset(
    paper="Ziegler et al. 2019, Fine-Tuning Language Models from Human Preferences (arXiv:1909.08593), sentiment task",
    sampling=Sampling(
        max_new_tokens=24,  # [code] response_length
        temperature=0.7,  # [code] in sampling, reference and training alike: LanguageModel(temperature=0.7)
        top_k=0,  # [code]
        top_p=1.0,  # [code]
        ignore_eos=True,  # [code] responses have a fixed length
    ),
    policy=PolicySettings(
        steps=1_000_000 // 512,  # [code] total_episodes / batch
        prompts_per_step=512,  # [code]
        samples=1,
        method=PPO(
            kl_coef=0.15,  # [code] kl_coef of the sentiment task
            kl_target=6.0,  # [code] adaptive_kl.target, nats per response
            kl_horizon=10_000,  # [code] adaptive_kl.horizon, episodes
            clip=0.2,  # [code]
            value_clip=0.2,  # [code]
            value_coef=0.1,  # [code] vf_coef, of ½·max(…)
            entropy_coef=0.0,  # [code] no entropy bonus
            gamma=1.0,  # [code]
            lam=0.95,  # [code]
            epochs=4,  # [code] noptepochs
            minibatches=1,  # [code]
            whiten_rewards=True,  # [code] with shift_mean=False
            whiten_advantages=True,  # [code] after the returns are made
        ),
        optimisation=Optimisation(
            lr=1e-5,  # [code]
            schedule="linear",  # [code] to 0
            optimiser="tf_adam",  # [code] TensorFlow 1's place for epsilon
            betas=(0.9, 0.999),  # [code]
            eps=1e-5,  # [code]
            max_norm=NO_CLIPPING,  # [code]
        ),
        value="shared",  # [code] policy and value share a trunk
        ignore_eos=True,
        truncate_at=".",  # [code] token 13, for the reward model alone: KL and advantages see all 24
        truncate_after=16,  # [code]
        missing_score=-1.0,  # [code] penalty_reward_value
        missing_end_penalty=0.0,
    ),
    reward=RewardModelling(
        method=PlackettLuce(places=1),  # [code] softmax cross-entropy, the best of 4
        collate=collate.rankings,
        records_per_step=32,  # [code]
        epochs=1,  # [code] over 4,992 labels
        optimisation=Optimisation(
            lr=5e-5,  # [code]
            schedule="linear",  # [code]
            optimiser="tf_adam",
            eps=1e-5,  # [code]
            max_norm=NO_CLIPPING,  # [code]
        ),
        normalise="mean 0 and variance 1, before and after training",  # [code] gain = 1/std, bias = -mean/std
        normalise_samples=256,  # [code]
    ),
)

STIENNON2020 = PPOPreset(
    paper="Stiennon et al. 2020, Learning to summarize from human feedback (arXiv:2009.01325), TL;DR",
    sampling=Sampling(
        max_new_tokens=53,  # [huang] response_length; the paper's summaries have 48 tokens at most
        temperature=0.7,  # [huang]
    ),
    policy=PolicySettings(
        steps=1_000_000 // 512,  # [paper] episodes / batch
        prompts_per_step=512,  # [paper] for the 1.3B model
        method=PPO(
            kl_coef=0.05,  # [paper]
            kl_target=None,  # [huang] fixed
            clip=0.2,  # [huang]
            value_clip=0.2,  # [huang]
            value_coef=0.1,  # [huang]
            gamma=1.0,  # [paper]
            lam=0.95,  # [paper]
            epochs=4,  # [paper]
            minibatches=1,  # [huang]
            whiten_rewards=False,  # [huang]
        ),
        optimisation=Optimisation(
            lr=1.5e-5,  # [paper] of the 1.3B model; [huang] 3e-6
            schedule="linear",  # [paper]; [huang] cosine
            eps=1e-5,  # [huang]
            max_norm=NO_CLIPPING,  # [huang]
        ),
        value="separate",  # [paper] a network of its own, started from the reward model
        missing_end_penalty=1.0,  # [huang] sets such scores to -1; TRL subtracts 1, as we do
    ),
    reward=RewardModelling(
        method=BradleyTerry(),  # [paper] log σ of the difference
        collate=collate.pairs,
        records_per_step=64,  # [paper]
        epochs=1,  # [paper]
        optimisation=Optimisation(lr=1.5e-5, schedule="cosine"),  # [paper] of the 1.3B model
        normalise="mean 0 on the reference summaries, after training",  # [paper]
    ),
    left_out=("the value network starts as a copy of the policy's trunk, not of the reward model",),
)

INSTRUCTGPT = PPOPreset(
    paper="Ouyang et al. 2022, Training language models to follow instructions (arXiv:2203.02155), PPO-ptx",
    sampling=Sampling(
        max_new_tokens=1024,  # [paper] prompts and responses of 1k tokens at most
        temperature=1.0,  # [paper]
    ),
    policy=PolicySettings(
        steps=256_000 // 512,  # [paper] 256k episodes
        prompts_per_step=512,  # [paper]
        method=PPO(
            kl_coef=0.02,  # [paper] β
            kl_target=None,  # [paper] fixed
            clip=0.2,  # [paper]
            gamma=1.0,  # [paper] no discount
            lam=0.95,  # [guess] as in the papers before it
            epochs=1,  # [paper] a single inner epoch
            minibatches=8,  # [paper] of 64
            pretraining_coef=27.8,  # [paper] γ of eq. 2
        ),
        optimisation=Optimisation(
            lr=9.65e-6,  # [guess] tried were 2.55e-6 to 2.55e-5 (E.9), none is named; this is its SFT's (C.1)
            schedule="constant",  # [paper]
            warmup=10 / 500,  # [paper] over 10 iterations, from a tenth
            betas=(0.9, 0.95),  # [paper]
        ),
        value="separate",  # [paper] of 6B parameters, started from the reward model
    ),
    reward=RewardModelling(
        method=BradleyTerry(),  # [paper] eq. 1
        collate=collate.all_pairs,  # [paper] all K(K-1)/2 pairs of the K = 4 to 9 answers to one prompt in one batch
        records_per_step=64,  # [paper] prompts
        epochs=1,  # [paper]
        optimisation=Optimisation(lr=9e-6, schedule="cosine", betas=(0.9, 0.95)),  # [paper]
        normalise="mean 0 on the demonstrations, after training",  # [paper] §3.5
    ),
    unverified=("policy.method.lam", "policy.optimisation.lr"),
    left_out=(
        "8 pre-training examples for every episode: give Rollouts(pretraining=…) batches of that size",
        "a learning rate of its own for the values, 9e-6",
        "an exponential moving average of the weights (decay 0.992)",
        "the reward model's learning rate ends at a tenth of its peak; our cosine ends at 0",
        "the value network starts as a copy of the policy's trunk, not of the reward model",
    ),
)

PRESETS: dict[str, Preset] = {
    "ziegler2019": ZIEGLER2019,
    "stiennon2020": STIENNON2020,
    "instructgpt": INSTRUCTGPT,
    "ahmadian2024": AHMADIAN2024,
    "shao2024": SHAO2024,
    "liu2025": LIU2025,
    "yu2025": YU2025,
    "zheng2025": ZHENG2025,
}


def preset(name: str) -> Preset:
    """The settings of a published run by name."""
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]
