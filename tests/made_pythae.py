"""A small config of each Pythae model that trains here, beside those in `tests.made`."""

from tests import made

MODELS = made.MODELS | {
    "Adversarial_AE": {"name": "Adversarial_AE_Config", "latent_dim": 3},
    "BetaTCVAE": {"name": "BetaTCVAEConfig", "latent_dim": 3, "beta": 2.0},
    "CIWAE": {"name": "CIWAEConfig", "latent_dim": 3, "number_samples": 3},
    "DisentangledBetaVAE": {"name": "DisentangledBetaVAEConfig", "latent_dim": 3, "C": 5.0},
    "FactorVAE": {"name": "FactorVAEConfig", "latent_dim": 3},
    "HVAE": {
        "name": "HVAEConfig",
        "latent_dim": 3,
        "n_lf": 1,
        "learn_eps_lf": True,
        "learn_beta_zero": True,
    },
    "INFOVAE_MMD": {"name": "INFOVAE_MMD_Config", "latent_dim": 3},
    "IWAE": {"name": "IWAEConfig", "latent_dim": 3, "number_samples": 3},
    "MIWAE": {
        "name": "MIWAEConfig",
        "latent_dim": 3,
        "number_samples": 3,
        "number_gradient_estimates": 2,
    },
    "MSSSIM_VAE": {"name": "MSSSIM_VAEConfig", "latent_dim": 3, "window_size": 5},
    "PIWAE": {
        "name": "PIWAEConfig",
        "latent_dim": 3,
        "number_samples": 3,
        "number_gradient_estimates": 2,
    },
    "PoincareVAE": {"name": "PoincareVAEConfig", "latent_dim": 3},
    "PoincareVAE, Riemannian": {
        "name": "PoincareVAEConfig",
        "latent_dim": 3,
        "prior_distribution": "riemannian_normal",
        "posterior_distribution": "riemannian_normal",
    },
    "RAE_GP": {"name": "RAE_GP_Config", "latent_dim": 3, "reg_weight": 0.1},
    "RAE_L2": {"name": "RAE_L2_Config", "latent_dim": 3, "reg_weight": 0.1},
    "RHVAE": {"name": "RHVAEConfig", "latent_dim": 3, "n_lf": 1},
    "SVAE": {"name": "SVAEConfig", "latent_dim": 3},
    "VAE_IAF": {"name": "VAE_IAF_Config", "latent_dim": 3, "hidden_size": 8},
    "VAE_LinNF": {"name": "VAE_LinNF_Config", "latent_dim": 3, "flows": ["Planar", "Radial"]},
    "VQVAE, EMA": made.MODELS["VQVAE"] | {"use_ema": True},
    "VAMP": {"name": "VAMPConfig", "latent_dim": 3, "number_components": 4},
}


def run_config(kind: str, **changes: object) -> dict:
    """`made.run_config` of any model, for two steps: two batches of ten, one epoch."""
    model = MODELS[kind]
    batches = {f"per_device_{split}_batch_size": 10 for split in ("train", "eval")}
    trainer = made.trainer(model, num_epochs=1, **batches)
    return made.run_config(model=model, trainer=trainer) | changes
