/* Runs the example: the sensor turns by a script, and the motor's settings are printed. */
#include "stub.h"

static int reads, steps;
static uint32_t level, duty, largest;

esp_err_t gpio_set_direction(gpio_num_t pin, gpio_mode_t mode)
{
    return pin == GPIO_NUM_18 && mode == GPIO_MODE_OUTPUT ? ESP_OK : 1;
}

esp_err_t gpio_set_level(gpio_num_t pin, uint32_t value)
{
    level = value;
    return pin == GPIO_NUM_18 ? ESP_OK : 1;
}

esp_err_t ledc_timer_config(const ledc_timer_config_t *config)
{
    largest = (1u << config->duty_resolution) - 1;
    return ESP_OK;
}

esp_err_t ledc_channel_config(const ledc_channel_config_t *config)
{
    return config->gpio_num == GPIO_NUM_19 ? ESP_OK : 1;
}

esp_err_t ledc_set_duty(ledc_mode_t mode, ledc_channel_t channel, uint32_t value)
{
    (void)mode;
    (void)channel;
    duty = value;
    return value <= largest ? ESP_OK : 1;
}

esp_err_t ledc_update_duty(ledc_mode_t mode, ledc_channel_t channel)
{
    (void)mode;
    (void)channel;
    printf("drive %d\n", level ? -(int)duty : (int)duty);
    return ESP_OK;
}

esp_err_t adc_oneshot_new_unit(const adc_oneshot_unit_init_cfg_t *config,
                               adc_oneshot_unit_handle_t *unit)
{
    *unit = NULL;
    return config->unit_id == ADC_UNIT_1 ? ESP_OK : 1;
}

esp_err_t adc_oneshot_config_channel(adc_oneshot_unit_handle_t unit, adc_channel_t channel,
                                     const adc_oneshot_chan_cfg_t *config)
{
    (void)unit;
    (void)channel;
    return config->bitwidth == ADC_BITWIDTH_12 ? ESP_OK : 1;
}

esp_err_t adc_oneshot_read(adc_oneshot_unit_handle_t unit, adc_channel_t channel, int *raw)
{
    (void)unit;
    (void)channel;
    *raw = reads++ * 37 % 101 * 4096 / 101;
    return ESP_OK;
}

TickType_t xTaskGetTickCount(void)
{
    return 0;
}

void vTaskDelayUntil(TickType_t *woken, TickType_t ticks)
{
    *woken += ticks;
    if (++steps == STEPS) {
        exit(0);
    }
}

BaseType_t xTaskCreate(void (*task)(void *), const char *name, uint32_t stack, void *argument,
                       unsigned priority, TaskHandle_t *handle)
{
    (void)name;
    (void)stack;
    (void)priority;
    (void)handle;
    task(argument);
    return 1;
}

int main(void)
{
    app_main();
    return 1;
}
