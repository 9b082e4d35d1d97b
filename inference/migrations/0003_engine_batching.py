from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('inference', '0002_model_engine_options'),
    ]

    operations = [
        migrations.AddField(
            model_name='engine',
            name='batching',
            field=models.CharField(blank=True, choices=[('batched', 'Batched'), ('padded', 'Padded'), ('single', 'Single')], default='', max_length=16),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='engine',
            name='batching_reason',
            field=models.TextField(blank=True, default=''),
            preserve_default=False,
        ),
    ]
