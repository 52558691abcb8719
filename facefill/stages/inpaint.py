"""Stage `inpaint`: Sym-UNet completes the masked albedo, PyramidGAN judges the face (paper 3.2,
supplementary 4.3).

Update i trains the discriminator and the inpainter without its verdict, update i+1 the inpainter with all
terms: 1:1. What is measured, shown and published are the inpainter's averaged weights.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from facefill.augmentation import CROP, centre_crop, crop_and_flip, rectangles, sample_generator
from facefill.completion import Completion, Factors, factorize, fit_from_encoder, hide, inpaint
from facefill.config import Geometry, InpaintConfig
from facefill.face_parsing import FACE, UNKNOWN
from facefill.face_region import face_region, face_texels
from facefill.geometry.morphable_model import mirror_coefficients
from facefill.geometry.reconstruction import Fit, fit_from_vector, reconstruct
from facefill.losses.adversarial import gradient_penalty, hinge_discriminator, hinge_generator
from facefill.losses.completion import masked_symmetry, uncertain_l1
from facefill.metrics.image import psnr
from facefill.networks.blocks import fold_spectral_norm
from facefill.networks.encoder import Encoder, is_located
from facefill.networks.pyramid_gan import PyramidDiscriminator
from facefill.networks.sym_unet import SymUNet
from facefill.stages import Assets, Batch, State, Synchronize
from facefill.stages.training import (
    Averaged,
    Descent,
    autocast,
    frozen,
    mean_terms,
    placed,
    save_networks,
    weighted_sum,
)


class InpaintStage:
    """Fields → encoder (frozen), inpainter, discriminator → losses → alternating step → metrics."""

    name = "inpaint"
    fields: tuple[str, ...] = ("image", "parsing", "fit")

    def __init__(
        self, config: InpaintConfig, assets: Assets, device: torch.device, synchronize: Synchronize
    ) -> None:
        self.config = config
        self.step = 0
        self.model = assets.model.to(device)
        self.atlas = assets.atlas.to(device)
        self.texels = face_texels(self.model, self.atlas)
        self.mirror = mirror_coefficients(assets.model).to(device)
        self.encoder = placed(
            Encoder(config.encoder_width, is_located(assets.parents["encoder"])), device, config
        )
        self.encoder.load_state_dict(assets.parents["encoder"])
        fold_spectral_norm(frozen(self.encoder))
        self.inpainter = SymUNet(config.width).to(device)
        self.averaged = Averaged(self.inpainter, config.averaging)  # a copy, so before it is compiled
        placed(self.inpainter, device, config)
        self.discriminator = placed(PyramidDiscriminator(config.discriminator_width), device, config)
        rate, judge_rate = config.optimizer.learning_rate, config.discriminator_learning_rate
        self.descent = Descent("inpainter", self.inpainter.parameters(), config.optimizer, rate, synchronize)
        self.judge_descent = Descent(
            "discriminator", self.discriminator.parameters(), config.optimizer, judge_rate, synchronize
        )

    def complete(
        self, network: nn.Module, example: Batch, hole: Tensor, geometry: Geometry
    ) -> tuple[Factors, Completion]:
        """Factors of the whole image in that geometry, and the network's completion of the masked one."""
        image = example["image"]
        with torch.no_grad():
            fit = self.geometry(example, hole, geometry)
            whole = factorize(image, hole, fit, self.model, self.atlas)

        def answer(albedo: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
            with autocast(albedo.device, self.config.precision):
                completed, log_sigma = network(albedo, known)
            return completed.float(), log_sigma.float()

        return whole, inpaint(hide(image, hole), hole, whole, fit, answer, self.model)

    def ask_discriminator(self, image: Tensor) -> list[Tensor]:
        """The discriminator's score maps, computed in the stage's precision."""
        with autocast(image.device, self.config.precision):
            return [scores.float() for scores in self.discriminator(image)]

    def geometry(self, example: Batch, hole: Tensor, geometry: Geometry) -> Fit:
        """The stored fit of the whole image, or what the encoder makes of the masked one."""
        if geometry == "fit":
            return fit_from_vector(example["fit"])
        with autocast(hole.device, self.config.precision):
            output = self.encoder(hide(example["image"], hole))
        return fit_from_encoder(output)

    def completion_losses(self, example: Batch, whole: Factors, completion: Completion) -> dict[str, Tensor]:
        """Albedo, symmetry and image terms that have a weight (authors' release)."""
        weights = self.config.loss_weights
        image = example["image"]
        terms = {}
        if weights.albedo:
            terms["loss/albedo"] = uncertain_l1(
                completion.albedo, whole.albedo, completion.log_sigma, whole.visible
            )
        if weights.symmetry:
            terms["loss/symmetry"] = masked_symmetry(completion.albedo, completion.log_sigma, whole.known)
        if weights.image:
            face = completion.coverage * not_background(example)
            terms["loss/image"] = uncertain_l1(completion.rendered, image, completion.image_log_sigma, face)
        return terms

    def train_step(self, parts: Sequence[Batch]) -> dict[str, Tensor]:
        """One update of the inpainter, and in turn one of the discriminator or its verdict."""
        self.inpainter.train()
        adversarial = self.config.loss_weights.adversarial > 0
        judged = adversarial and self.step % 2 == 1
        judging = adversarial and self.step % 2 == 0
        self.discriminator.train(judging).requires_grad_(judging)
        terms = []
        for part in parts:
            example = crop_and_flip(part, self.mirror, self.config.jitter)
            hole = face_holes(example, self.region(example))
            whole, completion = self.complete(self.inpainter, example, hole, self.config.geometry)
            losses = self.completion_losses(example, whole, completion)
            if judged:
                scores = self.ask_discriminator(completion.image)
                losses["loss/adversarial"] = hinge_generator(scores, completion.image_log_sigma)
            self.descent.add(weighted_sum(losses, self.config.loss_weights), 1 / len(parts))
            if judging:
                verdicts, asked = self.discriminator_losses(example, completion)
                self.judge_descent.add(asked, 1 / len(parts))
                losses |= verdicts
            terms.append(losses)
        taken = self.descent.step(self.step)
        if judging:
            taken |= self.judge_descent.step(self.step)
        self.averaged.follow(self.inpainter, self.step)
        self.step += 1
        return mean_terms(terms) | taken

    def discriminator_losses(
        self, example: Batch, completion: Completion
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The discriminator's loss on real and completed faces with the gradient penalty on the face, by name
        and as their sum.
        """
        real, made = example["image"], completion.image.detach()
        terms = {
            "loss/discriminator": hinge_discriminator(
                self.ask_discriminator(real),
                self.ask_discriminator(made),
                completion.image_log_sigma.detach(),
            )
        }
        total = terms["loss/discriminator"]
        if self.config.loss_weights.gradient_penalty:
            mixing = torch.tensor(
                [sample_generator(int(seed), 2).random() for seed in example["seed"]],
                dtype=real.dtype,
                device=real.device,
            ).view(-1, 1, 1, 1)
            terms["loss/gradient_penalty"] = gradient_penalty(
                self.ask_discriminator, real, made, completion.coverage, mixing
            )
            total = total + self.config.loss_weights.gradient_penalty * terms["loss/gradient_penalty"]
        return terms, total

    def region(self, example: Batch) -> Tensor:
        """Where holes may lie (N, 1, 224, 224)."""
        mesh = reconstruct(fit_from_vector(example["fit"]), self.model, self.atlas, CROP, CROP)
        return face_region(example["parsing"], mesh.fragments, self.texels, self.model)

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        """PSNR of the blended image and of the hole alone, for rectangles drawn by the samples' seeds, in the
        geometry that a photograph gets: what the encoder makes of the masked image.
        """
        example = centre_crop(batch)
        hole = face_holes(example, self.region(example))
        _, completion = self.complete(self.averaged.network, example, hole, "encoder")
        some = hole.flatten(1).sum(1) > 0
        if not bool(some.any()):
            return {}
        completed, image = completion.image.clamp(0, 1)[some], example["image"][some]
        return {
            "metric/psnr": psnr(completed, image).mean(),
            "metric/psnr_hole": psnr(completed, image, hole[some]).mean(),
        }

    @torch.no_grad()
    def pictures(self, batch: Batch) -> Tensor:
        """Rows: masked photograph, completion, whole rendering, photograph."""
        example = centre_crop(batch)
        hole = face_holes(example, self.region(example))
        _, completion = self.complete(self.averaged.network, example, hole, "encoder")
        drawn = completion.rendered * completion.coverage + (1 - completion.coverage)
        rows = [hide(example["image"], hole), completion.image, drawn, example["image"]]
        return torch.cat([torch.cat(list(row.clamp(0, 1)), -1) for row in rows], -2)

    def state_dict(self) -> dict[str, Any]:
        """Everything an exact continuation needs."""
        return {
            "step": self.step,
            "inpainter": self.inpainter.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "averaged": self.averaged.network.state_dict(),
            "optimizer": self.descent.adam.state_dict(),
            "discriminator_optimizer": self.judge_descent.adam.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.step = state["step"]
        self.inpainter.load_state_dict(state["inpainter"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.averaged.network.load_state_dict(state["averaged"])
        self.descent.adam.load_state_dict(state["optimizer"])
        self.judge_descent.adam.load_state_dict(state["discriminator_optimizer"])

    def weights(self) -> dict[str, State]:
        """The averaged inpainter, and the discriminator."""
        return save_networks({"inpainter": self.averaged.network, "discriminator": self.discriminator})


def face_holes(example: Batch, region: Tensor) -> Tensor:
    """Random rectangles, cut to the region where holes may lie (authors' release)."""
    return rectangles(example) * (region > 0).float()


def not_background(example: Batch) -> Tensor:
    """1 where the parsing says face or knows nothing (N, 1, 224, 224)."""
    labels = example["parsing"][:, None]
    return ((labels == FACE) | (labels == UNKNOWN)).float()
