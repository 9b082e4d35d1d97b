from django.db import migrations, models

KINDS = [("text", "Text"), ("vision", "Vision"), ("embedding", "Embedding"), ("reranker", "Reranker")]


def forget_defaults(apps, schema_editor):
    """Until now "text" was everyone's default; from now on it would be an order to the engine."""
    apps.get_model("inference", "Model").objects.update(kind="")


class Migration(migrations.Migration):

    dependencies = [
        ("inference", "0003_engine_batching"),
    ]

    operations = [
        migrations.AlterField(
            model_name="model",
            name="kind",
            field=models.CharField(blank=True, choices=KINDS, help_text="What it is for; empty: as its files tell its engine.", max_length=16),
        ),
        migrations.RunPython(forget_defaults, migrations.RunPython.noop),
        migrations.AddField(
            model_name="engine",
            name="kind",
            field=models.CharField(blank=True, choices=KINDS, default="", max_length=16),
            preserve_default=False,
        ),
    ]
