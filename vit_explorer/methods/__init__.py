"""The methods by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from vit_explorer.methods import attention, gradients, inputs, perturbation
from vit_explorer.methods.heatmap import Heatmap, Method, Noted

__all__ = ["METHODS", "Heatmap", "Method", "Noted"]

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        method.name: method
        for method in (
            Method(
                attention.attention,
                title="Attention",
                summary="Where the class token looks in one layer.",
                source="Vaswani et al. 2017; Dosovitskiy et al. 2021",
                caveat="One layer's mixing weights: they ignore the values mixed, and are the "
                "same for every class.",
                follows_row=True,
                requires=("attention",),
            ),
            Method(
                attention.rollout,
                title="Attention rollout",
                summary="Attention of all layers multiplied through, residuals included.",
                source="Abnar & Zuidema 2020",
                caveat="The same for every class; often highlights background that deep layers "
                "use as scratch space.",
                follows_row=True,
                requires=("attention",),
            ),
            Method(
                attention.gradient_rollout,
                title="Gradient rollout",
                summary="Rollout that keeps only attention which raises the class's logit.",
                source="Abnar & Zuidema 2020; Chefer et al. 2021",
                caveat="The gradient is small beside the residual, so single layers dominate.",
                gradients="all",
                follows_row=True,
                requires=("attention",),
            ),
            Method(
                attention.generic_attention,
                title="Generic attention",
                summary="Positive attention × gradient, added up through the layers.",
                source="Chefer, Gur & Wolf 2021 (ICCV)",
                caveat="Drops what speaks against the class.",
                gradients="all",
                follows_row=True,
                requires=("attention",),
            ),
            Method(
                attention.attention_grad_cam,
                title="Attention Grad-CAM",
                summary="The last layer's heads weighted by how much they raise the logit.",
                source="Chefer et al. 2021 (CVPR), after Selvaraju et al. 2017",
                caveat="Sees one layer; zero everywhere when no head raises the logit.",
                gradients="last",
                follows_row=True,
                requires=("attention",),
            ),
            Method(
                attention.legrad,
                title="LeGrad",
                summary="Where more attention, in any layer, would raise the class read off it.",
                source="Bousselham et al. 2024",
                caveat="The head was trained on the last layer's tokens, not on earlier ones.",
                runs_model=True,
                requires=("attention", "end"),
            ),
            Method(
                gradients.grad_cam,
                title="Grad-CAM",
                summary="Features of the last block or stage, weighted by their mean gradient.",
                source="Selvaraju et al. 2017",
                caveat="Made for convolutions: features of a ViT's patch need not be about that "
                "place.",
                gradients="last",
                requires=("features",),
            ),
            Method(
                gradients.hires_cam,
                title="HiResCAM",
                summary="Features times their own gradient, patch by patch.",
                source="Draelos & Carin 2020",
                caveat="Faithful to a linear head; a ViT's last block is not one.",
                gradients="last",
                requires=("features",),
            ),
            Method(
                gradients.grad_cam_plus_plus,
                title="Grad-CAM++",
                summary="Grad-CAM with weights that favour positive gradients.",
                source="Chattopadhay et al. 2018",
                caveat="Its higher derivatives assume an exponential after the logit.",
                gradients="last",
                requires=("features",),
            ),
            Method(
                gradients.xgrad_cam,
                title="XGrad-CAM",
                summary="Grad-CAM with gradients weighted by where each feature is.",
                source="Fu et al. 2020",
                caveat="Divides by feature sums that a layer norm brings near zero.",
                gradients="last",
                requires=("features",),
            ),
            Method(
                gradients.layer_cam,
                title="LayerCAM",
                summary="Positive gradients times features, patch by patch.",
                source="Jiang et al. 2021",
                caveat="Drops what speaks against the class.",
                gradients="last",
                requires=("features",),
            ),
            Method(
                gradients.eigen_cam,
                title="Eigen-CAM",
                summary="The strongest pattern in the last features, whatever the class.",
                source="Muhammad & Yeasin 2020",
                caveat="The same for every class; its sign is arbitrary.",
                requires=("features",),
            ),
            Method(
                gradients.eigen_grad_cam,
                title="Eigen-Grad-CAM",
                summary="The strongest pattern in features times gradients.",
                source="after Muhammad & Yeasin 2020",
                caveat="A component's sign is arbitrary: the strongest patch counts as positive.",
                gradients="last",
                requires=("features",),
            ),
            Method(
                perturbation.score_cam,
                title="Score-CAM",
                summary="Features, weighted by the logit of the picture masked by each.",
                source="Wang et al. 2020",
                caveat="A softmax over logits: a few features get nearly all of the weight.",
                runs_model=True,
                requires=("features",),
            ),
            Method(
                perturbation.ablation_cam,
                title="Ablation-CAM",
                summary="Features, weighted by how much of the logit is lost without each.",
                source="Ramaswamy & Desai 2020",
                caveat="Divides by the logit: the map turns over where that is negative.",
                runs_model=True,
                requires=("features",),
            ),
            Method(
                inputs.saliency,
                title="Saliency",
                summary="How strongly the logit reacts to small changes of a patch's pixels.",
                source="Simonyan et al. 2013",
                caveat="Noisy; reaction to a change is not what the prediction rests on.",
                runs_model=True,
            ),
            Method(
                inputs.input_x_gradient,
                title="Input × gradient",
                summary="What a patch's pixels add to the logit, to first order.",
                source="Shrikumar et al. 2016",
                caveat="A straight line laid on a curved function; pixels of the mean colour "
                "count for nothing.",
                signed=True,
                runs_model=True,
            ),
            Method(
                inputs.integrated_gradients,
                title="Integrated gradients",
                summary="What a patch adds to the logit on the way from a plain picture to this.",
                source="Sundararajan et al. 2017",
                caveat="Depends on the plain picture; pixels of its colour count for nothing.",
                signed=True,
                runs_model=True,
            ),
            Method(
                perturbation.occlusion,
                title="Occlusion",
                summary="How far the logit drops when a patch is covered.",
                source="Zeiler & Fergus 2014",
                caveat="One patch at a time: what several say together shows little.",
                signed=True,
                runs_model=True,
            ),
            Method(
                perturbation.rise,
                title="RISE",
                summary="How far random masks that show a patch raise the class's probability.",
                source="Petsiuk et al. 2018",
                caveat="Random: its grain falls with the root of the number of masks.",
                signed=True,
                runs_model=True,
            ),
        )
    }
)
