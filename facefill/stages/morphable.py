"""Stages `morphable` and `morphable_finetune`: encoder and albedo decoder (supplementary 4.2, 4.3, Tables
3 and 4).

One class serves both: fine-tuning is the same step with a tenth of the learning rate and the supervised
weights at zero.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from facefill.augmentation import CROP, centre_crop, crop_and_flip, rectangles
from facefill.completion import fit_from_encoder, hide
from facefill.config import MorphableConfig
from facefill.geometry.camera import project
from facefill.geometry.morphable_model import mirror_coefficients, vertices_from_coefficients
from facefill.geometry.reconstruction import (
    Fit,
    Reconstruction,
    fit_from_vector,
    fit_to_vector,
    reconstruct,
)
from facefill.geometry.texture import coverage, render
from facefill.losses import morphable as losses
from facefill.metrics.geometry import landmark_nme
from facefill.networks.albedo_decoder import AlbedoDecoder
from facefill.networks.encoder import Encoder
from facefill.stages import Assets, Batch, State, Synchronize
from facefill.stages.training import Descent, autocast, mean_terms, placed, save_networks, weighted_sum


class MorphableStage:
    """Fields → encoder and decoder → supervised, reconstruction and regularising losses → step → metrics."""

    fields: tuple[str, ...] = ("image", "landmarks", "fit", "uv_texture", "uv_visible")

    def __init__(
        self,
        name: str,
        config: MorphableConfig,
        assets: Assets,
        device: torch.device,
        synchronize: Synchronize,
    ) -> None:
        self.name = name
        self.config = config
        self.step = 0
        self.model = assets.model.to(device)
        self.atlas = assets.atlas.to(device)
        self.face = self.atlas.face[None, None].float()
        self.mirror = mirror_coefficients(assets.model).to(device)
        self.encoder = placed(Encoder(config.width, config.located), device, config)
        self.decoder = placed(AlbedoDecoder(config.width), device, config)
        if "encoder" in assets.parents:
            self.encoder.load_state_dict(assets.parents["encoder"])
            self.decoder.load_state_dict(assets.parents["albedo_decoder"])
        self.descent = Descent(
            "encoder",
            [*self.encoder.parameters(), *self.decoder.parameters()],
            config.optimizer,
            config.optimizer.learning_rate,
            synchronize,
        )

    def look(self, image: Tensor, drawn: int | None = None) -> tuple[Fit, Tensor]:
        """Fit and albedo (N, 3, 192, 256) that the networks see in images with their holes hidden; with
        `drawn` the albedo of so many alone.
        """
        with autocast(image.device, self.config.precision):
            output = self.encoder(image)
            albedo = self.decoder(output.albedo_feature[:drawn])
        return fit_from_encoder(output), albedo.float()

    def draw(self, fit: Fit, albedo: Tensor) -> tuple[Reconstruction, Tensor, Tensor, Tensor]:
        """Mesh, UV texture, rendering (N, 3, 224, 224) and coverage of a fit with an albedo."""
        mesh = reconstruct(fit, self.model, self.atlas, CROP, CROP)
        texture = albedo * mesh.shading
        return mesh, texture, render(texture, mesh.fragments, self.model), coverage(mesh.fragments)

    def losses(self, example: Batch, hole: Tensor) -> dict[str, Tensor]:
        """Every term with a weight above zero, by name."""
        drawn = max(1, round(self.config.drawn * len(hole)))
        fit, albedo = self.look(hide(example["image"], hole), drawn)
        of_drawn = {name: value[:drawn] for name, value in example.items()}
        return self.placing_losses(example, fit) | self.drawing_losses(
            of_drawn, hole[:drawn], fit_from_vector(fit_to_vector(fit)[:drawn]), albedo
        )

    def placing_losses(self, example: Batch, fit: Fit) -> dict[str, Tensor]:
        """The terms on shape, pose, light and landmarks."""
        weights = self.config.loss_weights
        target = fit_from_vector(example["fit"])
        terms: dict[str, Tensor] = {}
        if weights.shape:
            predicted = torch.cat([fit.identity, fit.expression], 1)
            terms["loss/shape"] = losses.shape_loss(
                predicted, torch.cat([target.identity, target.expression], 1)
            )
        if weights.scale:
            terms["loss/scale"] = losses.scale_loss(fit.camera, target.camera)
        if weights.translation:
            terms["loss/translation"] = losses.translation_loss(fit.camera, target.camera, CROP)
        if weights.rotation:
            terms["loss/rotation"] = losses.rotation_loss(fit.camera, target.camera)
        if weights.illumination:
            terms["loss/illumination"] = losses.illumination_loss(fit.illumination, target.illumination)
        if weights.landmarks or weights.landmark_distance:
            given = example["landmarks"]
            known = given.isfinite().all(-1)
            points = project(self.vertices(fit), fit.camera)[:, self.model.landmarks, :2]
            given = torch.where(known[..., None], given, points.detach())
            if weights.landmarks:
                terms["loss/landmarks"] = losses.landmark_loss(points, given, known.float(), CROP)
            if weights.landmark_distance:
                terms["loss/landmark_distance"] = losses.landmark_distance(points, given, known.float(), CROP)
        return terms

    def drawing_losses(self, example: Batch, hole: Tensor, fit: Fit, albedo: Tensor) -> dict[str, Tensor]:
        """The terms on albedo, texture and rendering."""
        weights = self.config.loss_weights
        terms: dict[str, Tensor] = {}
        _, texture, rendered, covered = self.draw(fit, albedo)
        if weights.texture:
            terms["loss/texture"] = losses.texture_loss(texture, example["uv_texture"], example["uv_visible"])
        if weights.reconstruction:
            terms["loss/reconstruction"] = losses.reconstruction_loss(
                rendered, example["image"], covered * (1 - hole)
            )
        if weights.symmetry:
            terms["loss/symmetry"] = losses.albedo_symmetry(albedo, self.face)
        if weights.constancy:
            terms["loss/constancy"] = losses.albedo_constancy(
                albedo, example["uv_texture"], example["uv_visible"]
            )
        return terms

    def train_step(self, parts: Sequence[Batch]) -> dict[str, Tensor]:
        """One update on crops, flips and random rectangles (supplementary 4.3)."""
        self.encoder.train()
        self.decoder.train()
        terms = []
        for part in parts:
            example = crop_and_flip(part, self.mirror, self.config.jitter)
            terms.append(self.losses(example, rectangles(example, self.config.occlusion)))
            self.descent.add(weighted_sum(terms[-1], self.config.loss_weights), 1 / len(parts))
        taken = self.descent.step(self.step)
        self.step += 1
        return mean_terms(terms) | taken

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        """Landmark error of whole and of masked faces (share of the distance of the outer eye corners),
        reconstruction L1.
        """
        self.encoder.eval()
        self.decoder.eval()
        example = centre_crop(batch)
        target = project(
            self.vertices(fit_from_vector(example["fit"])), fit_from_vector(example["fit"]).camera
        )
        truth = target[:, self.model.landmarks, :2]
        metrics = {}
        for name, hole in (("whole", torch.zeros_like(rectangles(example))), ("masked", rectangles(example))):
            fit, albedo = self.look(hide(example["image"], hole))
            mesh, _, rendered, covered = self.draw(fit, albedo)
            points = mesh.projected[:, self.model.landmarks, :2]
            metrics[f"metric/landmark_nme_{name}"] = landmark_nme(points, truth).mean()
            metrics[f"metric/reconstruction_l1_{name}"] = losses.reconstruction_loss(
                rendered, example["image"], covered
            )
        return metrics

    def vertices(self, fit: Fit) -> Tensor:
        """(N, V, 3) of a fit."""
        return vertices_from_coefficients(self.model, fit.identity, fit.expression)

    @torch.no_grad()
    def pictures(self, batch: Batch) -> Tensor:
        """Rows: masked photograph, rendering over it, shading alone, photograph."""
        self.encoder.eval()
        self.decoder.eval()
        example = centre_crop(batch)
        masked = hide(example["image"], rectangles(example))
        fit, albedo = self.look(masked)
        mesh, _, rendered, covered = self.draw(fit, albedo)
        relief = render(mesh.shading / mesh.shading.amax((1, 2, 3), True), mesh.fragments, self.model)
        drawn = rendered.clamp(0, 1) * covered + example["image"] * (1 - covered)
        rows = [masked, drawn, relief, example["image"]]
        return torch.cat([torch.cat(list(row), -1) for row in rows], -2)

    def state_dict(self) -> dict[str, Any]:
        """Everything an exact continuation needs."""
        return {
            "step": self.step,
            "encoder": self.encoder.state_dict(),
            "albedo_decoder": self.decoder.state_dict(),
            "optimizer": self.descent.adam.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.step = state["step"]
        self.encoder.load_state_dict(state["encoder"])
        self.decoder.load_state_dict(state["albedo_decoder"])
        self.descent.adam.load_state_dict(state["optimizer"])

    def weights(self) -> dict[str, State]:
        """Encoder and albedo decoder."""
        return save_networks({"encoder": self.encoder, "albedo_decoder": self.decoder})
