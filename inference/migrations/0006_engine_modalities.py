from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("inference", "0005_shared_prefixes"),
    ]

    operations = [
        migrations.AddField(
            model_name="engine",
            name="modalities",
            field=models.JSONField(blank=True, default=list),
        ),
    ]
