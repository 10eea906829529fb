"""µ-Net: pseudo-labels from the mask's own pass, and a decoder tied to the encoder.

Yuan, Xu, Tian, Wang, Zhan and Lukasiewicz, "µ-Net: Medical image segmentation using efficient and effective deep
supervision".
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from dsnotes.networks.baselines.unet_plus_plus import UNetPlusPlus
from dsnotes.networks.heads import InterpolatedHeads, SideHeads
from dsnotes.networks.unet import UNet
from dsnotes.papers.recipe import Recipe, Table, printed
from dsnotes.supervision import supervise
from dsnotes.supervision.multi_scale import FullSize, MultiLabel
from dsnotes.supervision.pseudo_labels import PseudoLabels, segmentation
from dsnotes.training.settings import Settings
from dsnotes.training.system import System

# The largest number of epochs is not printed; training ends at twice the best epoch.
SETTINGS = Settings(
    patch=(240, 240),  # and the batch: BraTS's; a preset brings its own
    batch=4,
    epochs=200,
    optimiser="adam",
    lr=3e-4,
    schedule="exponential",
    step_every=3,
    factor=0.9,
    stop="twice_best",
)

# (output, mask, restored_mask, restored_image, features, restored_features) as chosen for each dataset; the list in
# print has the spleen twice, the second is the liver.
PRESETS = {
    "brats": (5.0, 1.0, 1.0, 1.0, 9.0, 6.0),
    "cardiac": (7.0, 1.0, 4.0, 1.0, 9.0, 6.0),
    "spleen": (3.0, 5.0, 2.0, 2.0, 8.0, 6.0),
    "liver": (6.0, 1.0, 3.0, 1.0, 9.0, 6.0),
}
# The liver's batch is not printed. The two of CT were resized to 480 × 480; here that is the size of a patch.
BATCH = {"brats": 4, "cardiac": 2, "spleen": 1, "liver": 1}
PATCH = {"brats": (240, 240), "cardiac": (320, 320), "spleen": (480, 480), "liver": (480, 480)}

VARIANT = {
    "unet-deep": "deep",
    "unet-auto": "auto",
    "mu-net-seg": "seg",
    "mu-net-rec": "rec",
    "mu-net-hyb": "hyb",
    "mu-net-vae": "vae",
}
RAISE = {"unet-up": True, "unet-down": False}


def mu_net(
    name: str,
    *,
    in_channels: int,
    classes: int,
    width: int,
    dims: int,
    preset: str = "brats",
    detach_targets: bool = True,
    norm: str = "batch",
    patch: tuple[int, ...] | None = None,
    squared: bool = True,
) -> System:
    """A row of Tables 4 and 5: on the U-Net, or with "++" on U-Net++ at the U-Net's widths; and Fig. 4's rival."""
    if preset not in PRESETS:
        raise ValueError(f"preset={preset!r} is unknown. The paper's datasets are {list(PRESETS)}.")
    network = UNetPlusPlus if name.endswith("++") else UNet
    backbone = network(in_channels=in_channels, classes=classes, dims=dims, width=width, norm=norm)
    chosen = {"detach_targets": detach_targets, "patch": patch, "squared": squared}
    goal = PseudoLabels(VARIANT[name.removesuffix("++")], *PRESETS[preset], **chosen)
    settings = replace(SETTINGS, batch=BATCH[preset], patch=PATCH[preset])
    return System(name, supervise(backbone, goal), goal, settings=settings)


def resized(name: str, *, in_channels: int, classes: int, width: int, dims: int, norm: str = "batch") -> System:
    """Fig. 3's rivals: sides raised to the mask as M-Net's are, or the mask brought down to them as MLDS-Net's is.

    Neither says with which loss: the output and the raised sides have the paper's own L_BD in equal shares here, the
    sides at their own size MLDS-Net's cross-entropy of each class.
    """
    backbone = UNet(in_channels=in_channels, classes=classes, dims=dims, width=width, norm=norm)
    if RAISE[name]:
        goal = FullSize(InterpolatedHeads, dict.fromkeys(backbone.sides(), 1 / len(backbone.sides())), segmentation)
    else:
        deep = tuple(level for level in backbone.sides() if level != "stride1")
        goal = MultiLabel(partial(SideHeads, levels=deep), loss=segmentation)
    return System(name, supervise(backbone, goal), goal, settings=SETTINGS)


NORM = {"norm": "'batch' or 'instance'"}
OPTIONS = {
    "preset": f"the loss weights found for one of {list(PRESETS)}, with its batch and size of image",
    "detach_targets": "False lets gradients into the pseudo-labels",
} | NORM
VARIATIONAL = {
    "patch": "pixels an axis that the code is made for, 256 each",
    "squared": "False restores by cross-entropies weighed as the tied decoder's",
}
WHOLE = ("mu-net-2", "mu-net-3", "mu-net-4", "mu-net-5")
SYSTEMS = {
    **{
        name: Recipe(
            mu_net, width=64, dims=2, tables=WHOLE if name.startswith("mu-net-hyb") else WHOLE[2:], options=OPTIONS
        )
        for variant in VARIANT
        if variant != "mu-net-vae"
        for name in (variant, f"{variant}++")
    },
    "mu-net-vae": Recipe(mu_net, width=64, dims=2, options=OPTIONS | VARIATIONAL, papers=("mu_net",)),
    **{name: Recipe(resized, width=64, dims=2, options=NORM, papers=("mu_net",)) for name in RAISE},
}

METRICS = ("dice", "ppv", "sensitivity", "iou")
ACCURACY = tuple(f"{dataset} {metric}" for dataset in PRESETS for metric in METRICS)
EFFICIENCY = tuple(f"{dataset} {what}" for dataset in PRESETS for what in ("hours an epoch", "epochs", "hours"))
TABLES = {
    1: Table(
        caption="The datasets: images (2-D slices) and their size in pixels.",
        columns=("images", "size", "modality"),
        rows={
            "brats": (24_864, (240, 240), "T1ce"),
            "cardiac": (1350, (320, 320), "MRI"),
            "spleen": (1050, (512, 512), "CT"),
            "liver": (19_160, (512, 512), "CT"),
        },
        unfilled=dict.fromkeys(PRESETS, "a dataset"),
        slips=("The text calls Cardiac a CT set; it is MRI, as the table says.",),
    ),
    2: Table(
        caption="Accuracy of µ-Net and the networks it is compared with, on four datasets.",
        columns=ACCURACY,
        rows=printed("""
    fcn            .6956 .8382 .7030 .6457  .8835 .9028 .8846 .8532  .8069 .9058 .8151 .7588  .8064 .9330 .8315 .7871
    unet-2d        .7145 .8408 .7203 .6651  .9057 .9045 .9190 .8754  .8940 .9133 .8585 .8362  .8236 .8988 .8795 .8022
    attention-unet .7148 .8490 .7411 .6620  .9183 .9418 .9162 .8872  .9310 .9317 .9522 .8988  .8580 .9313 .8858 .8327
    res-unet++     .7197 .8629 .7273 .6701  .9176 .9249 .9321 .8893  .9245 .9296 .9301 .8862  .8591 .9191 .8941 .8339
    unet++         .7192 .8426 .7233 .6657  .9111 .9089 .9312 .8763  .9230 .9187 .8925 .8722  .8615 .9236 .8972 .8362
    unet3+         .7292 .8726 .7396 .6780  .9304 .9405 .9364 .9011  .9440 .9305 .9369 .8597  .8700 .9374 .8932 .8464
    m-net          .7163 .8433 .7229 .6652  .9135 .9199 .9209 .8796  .9243 .9398 .9328 .8927  .8310 .9211 .8654 .8047
    mlds-net       .7232 .8618 .7293 .6715  .9163 .9227 .9318 .8870  .9044 .9116 .8755 .8473  .8385 .9236 .8672 .8130
    mu-net-hyb     .7384 .8950 .7436 .6880  .9360 .9489 .9486 .9061  .9768 .9767 .9722 .9617  .8926 .9395 .9330 .8681
    mu-net-hyb++   .7472 .8873 .7646 .6962  .9413 .9649 .9490 .9135  .9786 .9854 .9748 .9640  .8953 .9381 .9496 .8725
        """),
        starred="mu-net-hyb",
        slips=(
            "On the liver U-Net has a Dice of .8236 here and .8530 in Table 4; likewise its other three columns.",
            "On the liver µ-Net-Hyb++ has PPV .9381 and SEN .9496 here, .9441 and .9214 in Table 4.",
            "Both of our rows are bold in every column, though Hyb beats Hyb++ in PPV on BraTS and the liver.",
            "On the spleen UNet3+ has a mean IoU of .8597, less than the .8939 which a mean Dice of .9440 allows: "
            "IoU = D / (2 - D) of each image is convex in D.",
            "Called significant, but every p on BraTS is above .17.",
        ),
    ),
    3: Table(
        caption="Efficiency: hours an epoch, epochs until the stop, and hours in all.",
        columns=EFFICIENCY,
        rows=printed("""
    fcn            0.1925  15  2.8877  0.0276  23  0.6360  0.0430  69  2.9701  0.2358  42  9.4330
    unet-2d        0.1960   8  1.5679  0.0277  19  0.5269  0.0499  59  2.9462  0.1619  60  9.9216
    attention-unet 0.2667  39 10.4016  0.0466  51  2.3752  0.0612  65  3.9751  0.3392  49 12.9577
    res-unet++     0.6958  50 34.7905  0.0694  46  3.1913  0.1001  66  6.6076  0.5316  67 22.8983
    unet++         0.5984  42 25.1322  0.0750  42  3.1486  0.1057  53  5.6005  0.3391  45 11.8250
    unet3+         0.8438  32 27.0022  0.1088  30  3.2649  0.1522  52  7.9143  0.5480  35 19.1784
    m-net          0.3073  30  9.2179  0.0405  50  2.0266  0.0848  83  7.0373  0.2538  51 12.9438
    mlds-net       0.2982  49 14.6107  0.0411  76  3.1248  0.0831 115  9.5576  0.2497  56 13.9832
    mu-net-hyb     0.6470   7  4.5289  0.0841  13  1.0934  0.1459  21  3.0639  0.6145  10  6.1450
    mu-net-hyb++   1.0288  19 19.5476  0.1106  10  1.1056  0.1786  23  4.1078  0.8911  12 10.6932
        """),
        starred="mu-net-hyb",
        slips=(
            "On the liver, hours are not hours an epoch times epochs for FCN, U-Net, Attention U-Net, ResUNet++ and "
            "U-Net++: 15.3 for 11.8 printed of the last, 35.6 for 22.9 of ResUNet++.",
            "The text has MLDS-Net stop after 57 epochs on Cardiac, the table after 76; and it takes U-Net's hours an "
            "epoch on BraTS to be .1925, which are FCN's.",
            "µ-Net-Hyb is faster than deeply supervised networks alone: plain U-Net needs 1.57 h on BraTS, Hyb 4.53.",
        ),
    ),
    4: Table(
        caption="Ablation, accuracy; imp. is µ-Net-Hyb less U-Net, imp.++ the same on U-Net++.",
        columns=ACCURACY,
        rows=printed("""
    unet-2d        .7145 .8408 .7203 .6651  .9057 .9045 .9190 .8754  .8940 .9133 .8585 .8362  .8530 .9268 .8832 .8289
    unet-deep      .7245 .8701 .7315 .6737  .9252 .9386 .9327 .8951  .9246 .9301 .9311 .8524  .8539 .9329 .8838 .8294
    unet-auto      .7268 .8713 .7348 .6764  .9307 .9401 .9361 .9013  .9291 .9315 .9426 .8664  .8543 .9330 .8845 .8351
    mu-net-seg     .7319 .8774 .7400 .6810  .9308 .9435 .9365 .9015  .9681 .9401 .9523 .9065  .8546 .9333 .8922 .8371
    mu-net-rec     .7340 .8807 .7434 .6836  .9332 .9455 .9393 .9024  .9744 .9652 .9605 .9525  .8623 .9347 .8977 .8375
    mu-net-hyb     .7384 .8950 .7436 .6880  .9360 .9489 .9486 .9061  .9768 .9767 .9722 .9617  .8926 .9395 .9330 .8681
    imp.           .0239 .0542 .0233 .0229  .0303 .0444 .0296 .0307  .0828 .0634 .1137 .1255  .0396 .0127 .0498 .0392
    unet++         .7192 .8426 .7233 .6657  .9111 .9089 .9312 .8763  .9230 .9187 .8925 .8722  .8615 .9236 .8972 .8362
    unet-deep++    .7341 .8705 .7540 .6820  .9315 .9395 .9331 .8994  .9284 .9651 .9394 .8827  .8696 .9253 .8977 .8450
    unet-auto++    .7368 .8721 .7609 .6851  .9319 .9411 .9381 .8998  .9345 .9665 .9478 .8921  .8743 .9343 .9027 .8465
    mu-net-seg++   .7391 .8795 .7617 .6883  .9336 .9458 .9392 .9023  .9720 .9838 .9692 .9561  .8757 .9397 .9042 .8466
    mu-net-rec++   .7420 .8820 .7637 .6903  .9368 .9474 .9465 .9041  .9782 .9847 .9747 .9634  .8783 .9404 .9070 .8546
    mu-net-hyb++   .7472 .8873 .7646 .6962  .9413 .9649 .9490 .9135  .9786 .9854 .9748 .9640  .8953 .9441 .9214 .8725
    imp.++         .0280 .0447 .0413 .0305  .0302 .0560 .0178 .0372  .0556 .0667 .0823 .0918  .0338 .0205 .0242 .0363
        """),
        unfilled=dict.fromkeys(("imp.", "imp.++"), "the difference of two rows"),
        starred="mu-net-hyb",
        slips=(
            "imp. on the liver holds for this table's U-Net, not for Table 2's.",
            "µ-Net-Hyb++ is bold in every column, though its PPV on BraTS and its SEN on the liver are below Hyb's.",
            "On the spleen, mean IoU is less than mean Dice allows for U-Net-Deep, U-Net-Auto and µ-Net-Seg (.9065 "
            "where .9681 asks for .9382 at least).",
        ),
    ),
    5: Table(
        caption="Ablation, efficiency.",
        columns=EFFICIENCY,
        rows=printed("""
    unet-2d        0.1960   8  1.5679  0.0277  19  0.5269  0.0499  59  2.9462  0.1619  60  9.9216
    unet-deep      0.3778  14  5.2888  0.0555  39  2.1649  0.1076  55  5.9202  0.6589  31 21.9312
    unet-auto      0.6386  12  7.6635  0.0795  23  1.8286  0.1400  45  6.2980  0.8831  15 13.0363
    mu-net-seg     0.4769  11  5.2463  0.0748  23  1.7211  0.1295  39  5.0524  0.4962  17  8.4356
    mu-net-rec     0.5696   8  4.5569  0.0761  19  1.4450  0.1253  39  4.8880  0.5222  14  7.3112
    mu-net-hyb     0.6470   7  4.5289  0.0841  13  1.0934  0.1459  21  3.0639  0.6145  10  6.1450
    unet++         0.5984  42 25.1322  0.0750  42  3.1486  0.1057  53  5.6005  0.3391  45 11.8250
    unet-deep++    0.8009  69 55.2636  0.0804  35  2.8157  0.1403  38  5.3312  1.4708  18 26.2477
    unet-auto++    0.9990  42 41.9564  0.0945  32  3.0237  0.1769  32  5.6599  1.4315  13 18.3910
    mu-net-seg++   0.9067  41 37.1746  0.0853  31  2.6452  0.1609  32  5.1482  0.8051  25 20.1275
    mu-net-rec++   0.9472  40 37.8878  0.0919  21  1.9304  0.1647  25  4.1166  0.8247  27 22.2669
    mu-net-hyb++   1.0288  19 19.5476  0.1106  10  1.1056  0.1786  23  4.1078  0.8911  12 10.6932
        """),
        starred="mu-net-hyb",
        slips=(
            "On the liver, hours are not hours an epoch times epochs for six rows: U-Net, -Deep, -Auto, and the same "
            "on U-Net++.",
            "U-Net-Auto is said to train faster than U-Net-Deep always; it takes longer on BraTS and the spleen (on "
            "U-Net++ on Cardiac and the spleen), and µ-Net-Rec++ longer than -Seg++ on BraTS and the liver.",
        ),
    ),
}
